"""A server restarts in mid-stream, or is away for 20 seconds: what is said meanwhile, and that it passes."""

import asyncio
import signal
import time

import pytest

from tests.faults.oracles import Change, Heard
from tests.faults.processes import until
from tests.faults.world import World, Worlds

AWAY = 20.0


@pytest.mark.timeout(200)
async def test_a_restart_of_redis_in_mid_stream(world: Worlds) -> None:
    async with world() as w:
        asking = [asyncio.create_task(w.load.listen(w.load.question(place, "refresh"))) for place in w.load.places[:2]]
        await until_it_streams(w)
        w.processes.send("redis", signal.SIGKILL)
        outcomes = {heard.outcome for heard in await asyncio.gather(*asking)}
        assert outcomes <= {"completed", "failed"}
        await w.quiet()
        assert await w.faults() == []


async def until_it_streams(w: World) -> None:
    """Until some answer has words."""
    await until(lambda: any(frame.event == "delta" for heard in w.load.heard for frame in heard.frames), 40)


@pytest.mark.timeout(200)
async def test_without_the_cache_everything_goes_on(world: Worlds) -> None:
    async with world() as w:
        async with w.processes.held_down("redis-cache"):
            asking = await some_of_everything(w, AWAY)
        await asyncio.gather(*asking)
        assert {what for what in w.load.answered if what.startswith(("search", "put"))} == {"search: 200", "put: 202"}
        assert {heard.outcome for heard in w.load.heard} == {"completed"}
        await w.quiet()
        assert await w.faults() == []
        assert await remembered(w)


@pytest.mark.timeout(200)
async def test_without_the_model_searches_and_known_answers_go_on(world: Worlds) -> None:
    async with world() as w:
        known = await w.load.listen(w.load.question(w.load.places[5]))
        assert known.outcome == "completed"
        await w.quiet()
        async with w.processes.held_down("model"):
            again = await w.load.listen(w.load.question(w.load.places[5]))
            assert (again.outcome, again.frames[-1].data["cache"]) == ("completed", "hit")
            asking = await some_of_everything(w, AWAY)
        await asyncio.gather(*asking)
        assert {what for what in w.load.answered if what.startswith(("search", "put"))} == {"search: 200", "put: 202"}
        await w.quiet()
        assert (await w.load.listen(w.load.question(w.load.places[1], "off"))).outcome == "completed"
        assert await w.faults() == []


@pytest.mark.timeout(200)
async def test_without_typesense_searches_say_so_and_documents_wait(world: Worlds) -> None:
    async with world() as w:
        async with w.processes.held_down("typesense"):
            asking = await some_of_everything(w, AWAY)
        await asyncio.gather(*asking)
        assert {what for what in w.load.answered if what.startswith("put")} == {"put: 202"}
        assert "search: 200" not in w.load.answered
        await w.quiet()
        assert (await w.load.search(w.load.places[0]))[0] == 200
        assert (await w.load.listen(w.load.question(w.load.places[1], "off"))).outcome == "completed"
        assert await w.faults() == []


async def some_of_everything(w: World, seconds: float) -> list[asyncio.Task[Heard]]:
    """A change, a search for what was never searched for, and a question now and then; who asks may still wait."""
    until, asking, number = time.monotonic() + seconds, list[asyncio.Task[Heard]](), 0
    while time.monotonic() < until:
        number += 1
        document_id = w.load.named(f"some {number % 4}")
        await w.load.change(Change(document_id, number, f"Words {number} of {document_id}."), broker=False)
        if number % 3 == 1:
            asking.append(asyncio.create_task(w.load.listen(w.load.question(w.load.places[number % 5]))))
        await asyncio.gather(w.load.search(w.load.named(f"never {number}")), asyncio.sleep(2))
    return asking


async def remembered(w: World) -> bool:
    """Whether the second of two same questions comes from the cache."""
    for _ in range(2):
        heard = await w.load.listen(w.load.question(w.load.places[5]))
        await asyncio.sleep(1)
    return bool(heard.frames[-1].data["cache"] == "hit")
