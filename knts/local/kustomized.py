"""What the overlays of `eventing/` and `deploy/` come to, each alone and with each component that can be added to it.

kubectl's own kustomize builds them. Without kubectl the files are gathered as they stand, patches left out: enough to
see that what refers to each other is there.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]  # one Kubernetes object

FOLDERS = ("eventing", "deploy")
LOCAL_SECRETS = "deploy/overlays/local/.secrets"
NEEDS = {  # components that make no sense without others
    "deploy/components/jwt": ("deploy/components/istio",),
    "eventing/components/event-policies": ("eventing/components/sinkbinding",),
    "deploy/components/oidc": ("eventing/components/sinkbinding", "eventing/components/event-policies"),
}
BROKERS = ("in-memory", "kafka", "rabbitmq")  # of these components an overlay of eventing has exactly one


class Unbuildable(Exception):
    """kustomize refuses; the message is what it says."""


def combinations(root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each base with the components to put on it: every overlay alone, with each component, and with all of them.

    A Broker class is chosen by an overlay, so its component goes with the base of `eventing`.
    """
    extras: list[str] = []
    for folder in FOLDERS:
        for component in _folders(root, f"{folder}/components"):
            if component.rsplit("/", 1)[1] in BROKERS:
                yield "eventing/base", (component,)
            else:
                extras.append(component)
    for folder in FOLDERS:
        for overlay in _folders(root, f"{folder}/overlays"):
            yield overlay, ()
            fitting = [extra for extra in extras if folder == "deploy" or extra.startswith("eventing/")]
            for extra in fitting:
                yield overlay, (*NEEDS.get(extra, ()), extra)
            yield overlay, tuple(fitting)


def _folders(root: Path, parent: str) -> list[str]:
    return sorted(f"{parent}/{path.parent.name}" for path in root.glob(f"{parent}/*/kustomization.yaml"))


def title(base: str, components: tuple[str, ...]) -> str:
    """A name for a combination."""
    return " + ".join([base, *(component.rsplit("/", 1)[1] for component in components)])


def builder() -> str | None:
    """The kubectl that builds, where there is one."""
    return shutil.which("kubectl")


def build(root: Path, base: str, components: tuple[str, ...], kubectl: str) -> list[Object]:
    """What `base` with `components` comes to. Raises Unbuildable.

    It is built in a copy, with made-up secrets for the local overlay, whose own are not in git.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in FOLDERS:
            shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns(".secrets"))
        _make_up_secrets(copy)
        target = copy / base
        if components:
            target = copy / "combination"
            target.mkdir()
            lines = {
                "namespace": "kn-ts",
                "resources": [f"../{base}"],
                "components": [f"../{component}" for component in components],
            }
            (target / "kustomization.yaml").write_text(yaml.safe_dump(lines))
        done = subprocess.run([kubectl, "kustomize", str(target)], capture_output=True, text=True)
    if done.returncode:
        raise Unbuildable(done.stderr.strip().replace(name, ""))
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def _make_up_secrets(copy: Path) -> None:
    script = copy / "deploy" / "secrets.sh"
    if script.is_file():
        subprocess.run([str(script)], check=True, capture_output=True)


def gathered(root: Path, base: str, components: tuple[str, ...]) -> list[Object]:
    """The objects that kustomizations name, themselves or through others, without their patches; generated ones too."""
    found: list[Object] = []
    seen: set[Path] = set()
    for folder in (base, *components):
        _gather(root / folder, found, seen)
    return found


def _gather(path: Path, found: list[Object], seen: set[Path]) -> None:
    path = path.resolve()
    if path in seen:
        return
    seen.add(path)
    if path.is_file():
        found += [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
        return
    listed = yaml.safe_load((path / "kustomization.yaml").read_text(encoding="utf-8"))
    for other in (*listed.get("resources", ()), *listed.get("components", ())):
        _gather(path / other, found, seen)
    for kind, generators in (
        ("ConfigMap", listed.get("configMapGenerator", ())),
        ("Secret", listed.get("secretGenerator", ())),
    ):
        for generator in generators:
            _generate(path, kind, generator, found)


def _generate(path: Path, kind: str, generator: dict[str, Any], found: list[Object]) -> None:
    data = dict(line.split("=", 1) for line in generator.get("literals", ()))
    for name in generator.get("files", ()):
        key, _, file = name.rpartition("=")
        data[key or Path(file).name] = _text(path / file)
    for name in generator.get("envs", ()):
        lines = (line.strip() for line in _text(path / name).splitlines())
        data |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for one in found:
        if one["kind"] == kind and one["metadata"]["name"] == generator["name"]:
            one["data"] |= data
            return
    found.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": generator["name"]}, "data": data})


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
