"""DELETE over the whole road: what the last asker gives up stops costing, in the queue, before and amid the words."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from bench.watched import Call
from knts.clients.flights import LISTENER_MS
from tests.faults.oracles import Heard
from tests.faults.processes import until
from tests.faults.replicas import Replicated
from tests.faults.world import World, Worlds

SLOW = 0.3  # seconds that each word of the model is held back: time to act


class Asking:
    """One who listens, until he has heard the end."""

    def __init__(self, w: World, place: int) -> None:
        self._before = len(w.load.heard)
        self._w = w
        self._task = asyncio.create_task(w.load.listen(w.load.question(w.load.places[place], "off")))

    @property
    def heard(self) -> Heard | None:
        return self._w.load.heard[self._before] if len(self._w.load.heard) > self._before else None

    def has(self, event: str) -> bool:
        return self.heard is not None and any(frame.event == event for frame in self.heard.frames)

    async def hears(self, event: str) -> None:
        await until(lambda: self.has(event), 60, pause=0.01)

    async def give_up(self) -> None:
        """Ask for the end of it."""
        assert self.heard is not None
        async with self._w.load.http.delete(f"{self._w.load.door()}/v1/answers/{self.heard.id}") as response:
            assert response.status == 204

    async def outcome(self) -> str:
        return (await asyncio.wait_for(self._task, 80)).outcome


@contextlib.asynccontextmanager
async def slowly(crowd: Worlds, many: Replicated) -> AsyncIterator[tuple[World, list[Call]]]:
    """A world whose model is slow, and the calls that are made of it from now on."""
    async with crowd() as w:
        many.ollama.calls.clear()
        many.ollama.pace = SLOW
        yield w, many.ollama.calls


async def asking(w: World, place: int) -> Asking:
    """Somebody whose question has come as far as its flight."""
    one = Asking(w, place)
    await one.hears("joined")
    return one


@pytest.mark.timeout(200)
async def test_amid_the_words(crowd: Worlds, many: Replicated) -> None:
    async with slowly(crowd, many) as (w, calls):
        one = await asking(w, 0)
        await one.hears("delta")
        waiting = await asking(w, 1)
        given_up = time.perf_counter()
        await one.give_up()
        assert await one.outcome() == "cancelled"
        await until(lambda: calls[0].ended is not None, 10)
        assert calls[0].closed
        many.ollama.pace = 0.0
        assert await waiting.outcome() == "completed"
        assert len(calls) == 2
        assert calls[1].opened > given_up  # the model has one slot, and it was taken until then


@pytest.mark.timeout(200)
async def test_before_the_first_word(crowd: Worlds, many: Replicated) -> None:
    async with slowly(crowd, many) as (w, calls):
        many.ollama.pace = 5.0
        one = await asking(w, 0)
        await until(lambda: bool(calls), 30, pause=0.01)
        await one.give_up()
        assert await one.outcome() == "cancelled"
        await until(lambda: calls[0].ended is not None, 10)
        assert calls[0].closed
        assert calls[0].first is None
        many.ollama.pace = 0.0
        assert await Asking(w, 1).outcome() == "completed"


@pytest.mark.timeout(200)
async def test_in_the_queue(crowd: Worlds, many: Replicated) -> None:
    async with slowly(crowd, many) as (w, calls):
        first = await asking(w, 0)
        await until(lambda: bool(calls), 30)
        second, third = await asking(w, 1), await asking(w, 2)
        await second.give_up()
        assert await second.outcome() == "cancelled"
        assert len(calls) == 1
        many.ollama.pace = 0.0
        assert await first.outcome() == await third.outcome() == "completed"
        assert len(calls) == 2  # none was made for the second


@pytest.mark.timeout(200)
async def test_who_is_not_the_last_takes_nothing_from_the_others(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        many.ollama.calls.clear()
        many.ollama.pace = SLOW
        request = w.load.question(w.load.places[3])
        listening = [asyncio.create_task(w.load.listen(request)) for _ in range(2)]
        await until(lambda: len([h for h in w.load.heard if any(f.event == "delta" for f in h.frames)]) == 2, 60)
        leaver = w.load.heard[0]
        async with w.load.http.delete(f"{w.load.door()}/v1/answers/{leaver.id}") as response:
            assert response.status == 204
        many.ollama.pace = 0.0
        outcomes = [heard.outcome for heard in await asyncio.gather(*listening)]
        assert sorted(outcomes) == ["cancelled", "completed"]
        assert leaver.outcome == "cancelled"
        assert len(many.ollama.calls) == 1


@pytest.mark.timeout(200)
async def test_a_listener_who_vanished_counts_as_gone_after_his_grace(crowd: Worlds, many: Replicated) -> None:
    async with slowly(crowd, many) as (w, calls):
        many.ollama.pace = 2.0
        url, headers = f"{w.load.door()}/v1/answers", {"Accept": "text/event-stream"}
        async with w.load.http.post(url, json=w.load.question(w.load.places[4], "off"), headers=headers) as response:
            await until(lambda: bool(calls) and calls[0].first is not None, 60)
            vanished = time.perf_counter()
            response.close()
        await until(lambda: calls[0].ended is not None, LISTENER_MS / 1000 + 30)
        assert calls[0].closed
        assert calls[0].ended is not None
        assert calls[0].ended - vanished > LISTENER_MS / 1000 - 15  # he was told of every 10 s, until he had gone
