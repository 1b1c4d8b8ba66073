"""`python -m knts.local` as a user meets it: what it refuses, and that nothing outlives it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from knts.local import outside
from knts.local.home import Home
from knts.local.process import free_port
from knts.settings import OllamaServer, TypesenseServer


@pytest.fixture
def env(tmp_path: Path, repository: Path) -> dict[str, str]:
    ports = {"KNTS_PORT": str(free_port()), "KNTS_BROKER_PORT": str(free_port())}
    return {**os.environ, **ports, "KNTS_HOME": str(tmp_path / "home"), "PYTHONPATH": str(repository)}


def refused(env: dict[str, str], status: int = 1) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "knts.local"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use_is_named(env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(env["KNTS_PORT"])))
        taken.listen()
        said = refused(env)
    assert f"port {env['KNTS_PORT']} is in use by" in said
    assert "set KNTS_PORT" in said


def test_a_second_start_on_the_same_home_is_told_of_the_first_and_not_of_its_ports(
    env: dict[str, str], tmp_path: Path
) -> None:
    with Home(tmp_path / "home").locked(), socket.socket() as taken:
        taken.bind(("127.0.0.1", int(env["KNTS_PORT"])))
        taken.listen()
        said = refused(env)
    assert f"runs already on {tmp_path / 'home'} (process {os.getpid()})" in said
    assert "in use" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL is set, but no Redis answers there"),
        ({"TYPESENSE_URL": "http://127.0.0.1:1", "TYPESENSE_API_KEY": "k"}, "no healthy Typesense answers there"),
        ({"OLLAMA_URL": "http://127.0.0.1:1"}, "no Ollama answers there"),
        ({"TYPESENSE_URL": "http://127.0.0.1:1"}, "TYPESENSE_API_KEY is not"),
    ],
)
def test_a_server_of_the_users_that_is_not_there_is_named(
    env: dict[str, str], given: dict[str, str], said: str
) -> None:
    assert said in refused(env | given)


def test_a_model_that_the_users_ollama_lacks_is_named(env: dict[str, str], ollama_server: OllamaServer) -> None:
    said = refused(env | {"OLLAMA_URL": f"{ollama_server.url}/api/", "OLLAMA_MODEL": "llama9"})
    assert "lacks OLLAMA_MODEL llama9 (it has smollm2:135m); run `ollama pull llama9`" in said


def test_the_users_ollama_answers_with_its_first_model_that_writes(ollama_server: OllamaServer) -> None:
    assert outside.ollama_model(ollama_server.url, None) == "smollm2:135m"
    assert outside.ollama_model(ollama_server.url, "smollm2:135m") == "smollm2:135m"


def test_a_key_that_the_users_typesense_refuses_is_named(
    env: dict[str, str], typesense_server: TypesenseServer
) -> None:
    given = {"TYPESENSE_URL": typesense_server.url, "TYPESENSE_API_KEY": "not-its-key"}
    assert "refuses TYPESENSE_API_KEY (status 401)" in refused(env | given)


def test_a_redis_that_may_lose_is_warned_of(redis_url: str, redis_cache_url: str) -> None:
    assert outside.check_redis(redis_url, "REDIS_URL", durable=True) == []
    warned = outside.check_redis(redis_cache_url, "REDIS_URL", durable=True)
    assert "REDIS_URL: maxmemory-policy is allkeys-lru, should be noeviction" in warned


@pytest.mark.parametrize("port", ["eighty", "0", "65536"])
def test_a_bad_setting_is_named(env: dict[str, str], port: str) -> None:
    assert f"KNTS_PORT = '{port}' is bad" in refused(env | {"KNTS_PORT": port}, status=2)


SUPERVISED = """
import sys, pathlib
from knts.local.servers import cache_valkey, durable_valkey
from knts.local.supervisor import Supervisor
home = pathlib.Path(sys.argv[1])
stage = [durable_valkey(home / "a", home / "a.log"), cache_valkey(home / "b", home / "b.log")]
supervisor = Supervisor([stage], lambda text: None)
supervisor.start()
print(*[unit.child.popen.pid for unit in supervisor.units[0]], flush=True)
supervisor.watch()
"""


@pytest.fixture
def supervised(env: dict[str, str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    command = [sys.executable, "-c", SUPERVISED, str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        yield parent, pids
        parent.kill()


def test_the_servers_die_with_a_killed_supervisor(supervised: tuple[subprocess.Popen[str], list[int]]) -> None:
    parent, pids = supervised
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a server outlived its supervisor"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits only to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
