"""The fault suite's run: a road of its own, a seed that is printed, and a report of what was done to it.

Settings: KNTS_FAULT_SEED repeats the choices of an earlier run (their timing can't be repeated), KNTS_FAULT_SECONDS is
how long the random kill loop goes on, 90 by default; KNTS_FAULT_EVENTS how many shuffled events are sent, 5,000.
"""

import contextlib
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.roads import Road, start_road
from tests.faults.processes import Processes
from tests.faults.replicas import Replicated, replicated
from tests.faults.world import ANSWER_DEADLINE, CROWD_DEADLINE, World, Worlds, opened

TENANTS = ("local", "other", "third")  # whose documents may be posted to the Broker; the load's are the first's


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The run, started as `make run` starts it."""
    env = {
        "KNTS_FIRST_DOCUMENTS": "docs/events.md",
        "KNTS_ANSWER_DEADLINE": f"{ANSWER_DEADLINE:g}",
        "KNTS_PRODUCER_TENANTS": ",".join(TENANTS),
    }
    started = start_road(tmp_path_factory.mktemp("faults"), **env)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """A second run, with several replicas of ingress and llm-answer."""
    env = {"KNTS_FIRST_DOCUMENTS": "docs/events.md", "KNTS_ANSWER_DEADLINE": f"{CROWD_DEADLINE:g}"}
    with replicated(tmp_path_factory.mktemp("replicas"), **env) as here:
        yield here


@pytest.fixture(scope="session")
def seed() -> str:
    return os.environ.get("KNTS_FAULT_SEED") or secrets.token_hex(4)


@pytest.fixture
def world(road: Road, seed: str, request: pytest.FixtureRequest) -> Worlds:
    """`async with world() as w`: all is up, the load's own documents are there; the report is printed at the end."""

    return lambda: opened(Processes(road), random.Random(f"{seed} {request.node.name}"), seed)


@pytest.fixture
def crowd(many: Replicated, seed: str, request: pytest.FixtureRequest) -> Worlds:
    """The same on the run with replicas, every one of which is up; askers go to one ingress after the other."""

    @contextlib.asynccontextmanager
    async def mended() -> AsyncIterator[World]:
        await many.mend()
        many.processes.faults, many.processes.began = [], time.monotonic()
        chance = random.Random(f"{seed} {request.node.name}")
        async with opened(many.processes, chance, seed, CROWD_DEADLINE) as world:
            world.load.doors = many.doors
            yield world

    return mended
