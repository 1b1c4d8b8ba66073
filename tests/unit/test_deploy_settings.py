"""What the manifests set is what the functions read: each function starts with its own Service's environment."""

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from knts.local import crosschecks, kustomized
from knts.runtime import Function
from knts.serve import ServeSettings
from knts.settings import SettingsError, read

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/main.py"))
OVERLAYS = ("deploy/overlays/local", "deploy/overlays/production")
TELEMETRY = {"LOG_LEVEL", "KNTS_TRACE_DIR"}  # and whatever begins with OTEL_


class Asked(Mapping[str, str]):
    """An environment that knows what it was asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.given[name]

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return self.given.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


@cache
def deployed(overlay: str) -> crosschecks.Deployed:
    return crosschecks.Deployed(kustomized.gathered(ROOT, overlay, ()))


def service(name: str, overlay: str) -> Any:
    [found] = [one for one in deployed(overlay).functions if crosschecks.name(one) == name.replace("_", "-")]
    return found["spec"]["template"]["spec"]["containers"][0]


def config(name: str, overlay: str) -> dict[str, str]:
    [found] = [one for one in deployed(overlay).of("ConfigMap") if crosschecks.name(one) == name]
    return dict(found["data"])


def environment(name: str, overlay: str, keys: Path) -> tuple[dict[str, str], set[str]]:
    """The environment of a function's container, and which names of it stand there only for others to refer to."""
    env = config("kn-ts", overlay)
    expanded: set[str] = set()
    for one in service(name, overlay)["env"]:
        source = one.get("valueFrom", {})
        value = one.get("value", "made up")
        if "configMapKeyRef" in source:
            value = config(source["configMapKeyRef"]["name"], overlay)[source["configMapKeyRef"]["key"]]
        for other in list(env):
            if f"$({other})" in value:
                value = value.replace(f"$({other})", env[other].replace(" ", "-"))
                expanded.add(other)
        env[one["name"]] = value
    if "KNTS_KEYS_FILE" in env:
        keys.write_text("[]")
        env["KNTS_KEYS_FILE"] = str(keys)
    return env, expanded


async def asked_by(name: str, env: Mapping[str, str]) -> set[str]:
    """What a function reads of its environment while it starts; nothing that it needs is there."""
    asked = Asked(env)
    read(ServeSettings, asked)
    function: Function = importlib.import_module(f"functions.{name}.main").function
    async with function.started(asked):
        pass
    return asked.names


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
async def test_a_function_starts_with_its_services_environment(name: str, overlay: str, tmp_path: Path) -> None:
    env, expanded = environment(name, overlay, tmp_path / "keys.yaml")
    asked = await asked_by(name, env)
    own = {one["name"] for one in service(name, overlay)["env"]}
    assert own - asked - expanded == set(), "these stand in its manifest, and it reads none of them"


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_some_function_reads_each_shared_setting(overlay: str, tmp_path: Path) -> None:
    asked: set[str] = set()
    for name in FUNCTIONS:
        asked |= await asked_by(name, environment(name, overlay, tmp_path / "keys.yaml")[0])
    assert {name for name in config("kn-ts", overlay) if not name.startswith("OTEL_")} - asked - TELEMETRY == set()


async def test_a_setting_that_is_missing_or_misspelt_is_seen(tmp_path: Path) -> None:
    env, _ = environment("search", OVERLAYS[1], tmp_path / "keys.yaml")
    url = env.pop("TYPESENSE_URL")
    with pytest.raises(SettingsError, match="TYPESENSE_URL is not set"):
        await asked_by("search", env)
    asked = await asked_by("search", {**env, "TYPESENSE_URL": url, "TYPESENSE_TIMEOUTS": "3"})
    assert "TYPESENSE_TIMEOUT" in asked
    assert "TYPESENSE_TIMEOUTS" not in asked


async def test_func_yaml_gives_its_function_what_it_needs() -> None:
    func = yaml.safe_load((ROOT / "func.yaml").read_text())
    env = {one["name"]: one["value"] for one in func["run"]["envs"]}
    asked = await asked_by(env["FUNCTION_TARGET"].replace("-", "_"), env)
    assert set(env) - asked == {"REDIS_PASSWORD"}
    own = {one["name"] for one in service("search", OVERLAYS[1])["env"]}
    assert own <= set(env)
