"""The development broker keeps the Broker contract."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from knts.local.process import http_status, start, wait_until
from tests.broker import contract
from tests.broker.cases import BODY_CAP, FAILED_TRIGGER, ORDER, PAGES, REASONS, REPLAY
from tests.broker.contract import *  # noqa: F403 - the tests
from tests.broker.contract import World
from tests.broker.subscriber import Subscriber

ROOT = Path(__file__).resolve().parents[2]
CAN = frozenset({BODY_CAP, FAILED_TRIGGER, ORDER, PAGES, REASONS, REPLAY})


@pytest.fixture(scope="module")
def world(
    durable_server: str, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("broker")
    to = Subscriber()
    to.start("127.0.0.1")
    applied = contract.manifests(to, CAN)
    manifests = folder / "manifests"
    manifests.mkdir()

    def write() -> None:
        (folder / "draft").write_text(yaml.safe_dump_all(applied))
        (folder / "draft").rename(manifests / "all.yaml")

    def edit(name: str, changes: Mapping[str, Any]) -> None:
        [one] = [each for each in applied if each["kind"] == "Trigger" and each["metadata"]["name"] == name]
        one["spec"].update(changes)
        write()

    write()
    url = f"http://127.0.0.1:{free_port()}"
    env = {
        "REDIS_URL": durable_server.removesuffix("/0") + "/9",  # apart from the database that other tests flush
        "KNTS_HOST": "127.0.0.1",
        "KNTS_BROKER_PORT": url.rpartition(":")[2],
        "KNTS_MANIFESTS": str(manifests),
        "KNTS_SUBSCRIBERS": json.dumps({}),
    }
    command = [sys.executable, "-m", "knts.devbroker"]
    broker = start("broker", command, log=folder / "log", env={**os.environ, "PYTHONPATH": str(ROOT), **env})
    wait_until(lambda: http_status(f"{url}/readyz")[0] == 200, broker, seconds=60)
    yield World(url, to, CAN, edit)
    broker.stop()
    to.stop()
