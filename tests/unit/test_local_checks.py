"""What stands against a start is said with what would help."""

import os
import socket
from pathlib import Path

import pytest

from knts.local import checks
from knts.local.settings import LocalSettings
from knts.settings import SettingsError, read

OWN = {
    "REDIS_URL": "redis://h/0",
    "REDIS_CACHE_URL": "redis://h/1",
    "TYPESENSE_URL": "http://h",
    "TYPESENSE_API_KEY": "k",
    "OLLAMA_URL": "http://h:11434/api",
}


def settings(**env: str) -> LocalSettings:
    return read(LocalSettings, env)


def test_a_port_in_use_is_named_with_its_process_and_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fault = checks.port_fault(port, "KNTS_PORT")
        assert checks.faults(settings(KNTS_PORT=str(port)))[0] == fault
    assert fault is not None
    assert f"port {port} is in use by" in fault
    assert f"(process {os.getpid()})" in fault
    assert "set KNTS_PORT" in fault
    assert checks.port_fault(port, "KNTS_PORT") is None


def test_a_port_of_the_systems_is_not_said_to_be_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "port_taken", lambda port: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(checks, "unprivileged_ports", lambda: 1024)
    assert checks.port_fault(80, "KNTS_PORT") == (
        "port 80 is kept for the system's own services; set KNTS_PORT to one of 1024 or more"
    )
    assert "in use by" in (checks.port_fault(1024, "KNTS_PORT") or "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "in use by" in (checks.port_fault(80, "KNTS_PORT") or "")


def test_where_the_systems_ports_end_is_the_systems_to_tell(tmp_path: Path) -> None:
    assert checks.unprivileged_ports(tmp_path / "not there") == 1024
    (tmp_path / "told").write_text("80\n")
    assert checks.unprivileged_ports(tmp_path / "told") == 80


def test_an_unseen_listener_is_somebody(tmp_path: Path) -> None:
    assert checks.listener(1, proc=tmp_path) == "another process"


@pytest.mark.parametrize(
    ("system", "machine", "env", "fits"),
    [
        ("linux", "x86_64", {}, True),
        ("linux", "aarch64", {}, False),
        ("darwin", "arm64", {}, False),
        ("darwin", "arm64", OWN, True),
        ("darwin", "arm64", {k: v for k, v in OWN.items() if k != "OLLAMA_URL"}, False),
    ],
)
def test_platforms(system: str, machine: str, env: dict[str, str], fits: bool) -> None:
    fault = checks.platform_fault(settings(**env), system, machine)
    assert (fault is None) == fits
    if fault:
        assert f"{system} on {machine}" in fault
        assert "docker compose up" in fault
        assert "TYPESENSE_URL=" in fault


def test_the_message_for_other_platforms_names_what_compose_starts() -> None:
    compose = (Path(__file__).parents[2] / "compose.yaml").read_text()
    for word in ("8108", "kn-ts-local", "6379", "6380", "11434", "smollm2:135m"):
        assert word in checks.OWN_SERVERS
        assert word in compose


def test_old_pythons_are_named() -> None:
    assert checks.python_fault((3, 11)) is None
    assert checks.python_fault((3, 9)) == "kn-ts needs Python 3.11 or newer; this is 3.9"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    fault = checks.disk_fault(tmp_path / "not" / "yet", free_bytes=5 << 20)
    assert fault is not None
    assert str(tmp_path) in fault
    assert "5 MB free" in fault
    assert checks.disk_fault(tmp_path, free_bytes=5 << 30) is None


def test_typesense_wants_its_key_beside_its_address() -> None:
    assert "TYPESENSE_API_KEY" in (checks.pair_fault(settings(TYPESENSE_URL="http://h")) or "")
    assert checks.pair_fault(settings(**OWN)) is None


def test_one_port_for_both_is_refused() -> None:
    said = checks.faults(settings(KNTS_PORT="65001", KNTS_BROKER_PORT="65001"))
    assert any("both 65001" in fault for fault in said)


def test_ollamas_address_may_end_in_api() -> None:
    assert settings(**OWN).ollama_url == "http://h:11434"


def test_bad_settings_are_named() -> None:
    with pytest.raises(SettingsError, match=r"KNTS_PORT.*REDIS_URL"):
        settings(KNTS_PORT="eighty", REDIS_URL="localhost")


def test_wordings_cannot_be_compared_without_embeddings() -> None:
    def told(**env: str) -> list[str]:
        return [each for each in checks.faults(settings(**env)) if "KNTS_SEMANTIC" in each]

    [fault] = told(KNTS_SEMANTIC="on", KNTS_EMBEDDINGS="off")
    assert "KNTS_EMBEDDINGS" in fault
    assert not told(KNTS_SEMANTIC="on")
    assert not told(KNTS_EMBEDDINGS="off")
