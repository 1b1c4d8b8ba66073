"""What happens between the functions and their servers: slow, silent, broken, cut and half-open connections.

The run is given servers of the test's own by addresses of proxies, each of which can be broken while everything works.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from knts.local.process import Child
from knts.local.servers import PackagedModel, Typesense, cache_valkey, durable_valkey, started
from tests.e2e.roads import start_road
from tests.faults import state
from tests.faults.oracles import Change
from tests.faults.processes import FUNCTIONS, Processes
from tests.faults.proxy import NONE, REFUSE, RESET, SILENT, Fault, Proxies
from tests.faults.world import ANSWER_DEADLINE, World, opened

BROKEN_SECONDS, WHOLE_SECONDS = 2.0, 0.8
DEPENDENCIES = ("redis", "redis-cache", "typesense", "model")
SMALL_MODEL = {"KNTS_MODEL_SLOTS": "1", "KNTS_PROMPT_TOKENS": "260", "KNTS_ANSWER_TOKENS": "80"}
SEARCH_PATIENCE = 4.0  # KNTS_SEARCH_PATIENCE
TRIES = 1.0  # seconds that a search goes on asking an index which refuses


def faults(chance: random.Random) -> dict[str, Fault]:
    """Every kind of fault, the sizes of which are left to chance."""
    return {
        "slow": Fault(latency=chance.uniform(0.02, 0.2), jitter=chance.uniform(0, 0.3)),
        "silent": SILENT,
        "reset": RESET,
        "refused": REFUSE,
        "cut": Fault(cut=chance.randrange(600)),
        "half open": Fault(half_open=True),
        "trickling": Fault(trickle=0.002, trickle_bytes=chance.randrange(8, 200)),
    }


@dataclass
class Between:
    """A run whose servers stand behind proxies."""

    processes: Processes
    proxies: Proxies
    seed: str

    async def switch(self, name: str, fault: Fault, what: str) -> None:
        await asyncio.to_thread(self.proxies.switch, name, fault)
        self.processes.note(f"{name} is {what}")


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory, seed: str) -> Iterator[Between]:
    folder = tmp_path_factory.mktemp("between")
    servers = {
        "redis": durable_valkey(folder / "redis", folder / "redis.log"),
        "redis-cache": cache_valkey(folder / "cache", folder / "cache.log"),
        "typesense": Typesense(folder / "typesense", folder / "typesense.log", state.OUTSIDE_KEY),
        "model": PackagedModel(folder / "lib", folder / "model.log"),
    }
    children: list[Child] = []
    with Proxies(random.Random(seed)) as proxies:
        try:
            children += [started(server) for server in servers.values()]
            url = {name: proxies.stand_for(name, server.url) for name, server in servers.items()}
            road = start_road(
                folder / "home",
                REDIS_URL=url["redis"],
                REDIS_CACHE_URL=url["redis-cache"],
                TYPESENSE_URL=url["typesense"],
                TYPESENSE_API_KEY=state.OUTSIDE_KEY,
                OLLAMA_URL=url["model"],
                OLLAMA_MODEL="smollm2:135m",
                KNTS_FIRST_DOCUMENTS="docs/events.md",
                KNTS_ANSWER_DEADLINE=f"{ANSWER_DEADLINE:g}",
                **SMALL_MODEL,
            )
            try:
                yield Between(Processes(road, (*FUNCTIONS, "broker")), proxies, seed)
            finally:
                road.stop()
        finally:
            for child in children:
                child.stop()


@pytest.mark.timeout(300)
async def test_whatever_breaks_between_nothing_is_lost_and_nobody_waits_too_long(between: Between) -> None:
    chance = random.Random(f"{between.seed} between")
    rounds = [(name, what, fault) for name in DEPENDENCIES for what, fault in faults(chance).items()]
    chance.shuffle(rounds)
    async with opened(between.processes, chance, between.seed) as w:
        working = asyncio.create_task(w.load.work())
        for name, what, fault in rounds:
            await between.switch(name, fault, what)
            await asyncio.sleep(BROKEN_SECONDS)
            await between.switch(name, NONE, "whole again")
            await asyncio.sleep(WHOLE_SECONDS)
        w.load.stopping = True
        await working
        await w.quiet()
        assert w.load.answered["search: 200"]
        assert w.load.answered["ask: completed"]
        assert await w.faults() == []


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("what", "fault", "within"), [("silent", SILENT, SEARCH_PATIENCE), ("refused", REFUSE, TRIES)])
async def test_without_typesense_who_searches_is_told_early_and_known_answers_are_given(
    between: Between, what: str, fault: Fault, within: float
) -> None:
    async with opened(between.processes, random.Random(between.seed), between.seed) as w:
        await known(w)
        await between.switch("typesense", fault, what)
        try:
            began = time.monotonic()
            status, problem = await w.load.searched(w.load.named(f"never {what}"))
            took = time.monotonic() - began
            again = await w.load.listen(w.load.question(w.load.places[5]))
            await w.load.change(Change(w.load.named(f"waits {what}"), 1, "It waits."), broker=False)
            asked = await w.load.listen(w.load.question(w.load.places[0], "refresh"))
        finally:
            await between.switch("typesense", NONE, "whole again")
        assert (status, again.outcome, again.frames[-1].data["cache"]) == (503, "completed", "hit")
        assert "Typesense" in problem["detail"]
        assert took < within + w.load.margin / 2
        assert (asked.outcome, asked.frames[-1].data["problem"]["status"]) == ("failed", 503)
        assert "Typesense" in asked.frames[-1].data["reason"]
        await w.quiet()
        assert (await w.load.search(w.load.places[0]))[0] == 200
        assert await w.faults() == []


async def known(w: World) -> None:
    """A question is answered, and its answer remembered."""
    assert (await w.load.listen(w.load.question(w.load.places[5]))).outcome == "completed"
    await w.quiet()
