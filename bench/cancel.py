"""`python -m bench.cancel`: how soon a DELETE by the last asker closes our call to Ollama, and the model stops.

Over a whole local run with the packaged model, in three phases: waiting in the model's queue, before the first token,
amid the answer. The floor is a bare client that closes its connection to the same model in the same phase.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench.local import Road, road
from bench.measure import Sample, machine, table
from bench.road import BUDGET, documents
from bench.watched import Call, Watched
from functions.llm_answer import prompt
from knts.clients.redis import Redis, connected
from knts.local.model import NAME
from knts.local.plan import SMALL_MODEL
from knts.local.servers import PackagedModel, started

TRIALS = int(os.environ.get("KNTS_TRIALS", "12"))
WINDOW = 0.02  # seconds of CPU time that are looked at together
IDLE = 0.2  # of a core: less is a model that has stopped
LONG = {"num_predict": 400, "temperature": 0}
STREAM = {"accept": "text/event-stream"}


async def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="knts-bench-model-") as folder:
        model = PackagedModel(Path(folder) / "lib", Path(folder) / "log")
        child = started(model)
        try:
            async with Watched(model.url).running() as watched:
                rows = await asyncio.to_thread(measured, watched, child.popen.pid, asyncio.get_running_loop())
        finally:
            child.stop()
    print(f"{machine()}; {TRIALS} trials each\n")
    print(table(("phase", "what", "kn-ts p50", "kn-ts worst", "bare client p50", "bare worst", "unit"), rows))


def measured(watched: Watched, pid: int, loop: asyncio.AbstractEventLoop) -> list[tuple[object, ...]]:
    """The rows; starting a run blocks, and the pass-through must go on meanwhile."""
    settings = {"OLLAMA_URL": watched.url, "OLLAMA_MODEL": NAME, **SMALL_MODEL, "KNTS_ANSWER_TOKENS": "400"}
    with road(**settings) as here:
        return asyncio.run_coroutine_threadsafe(phases(here, watched, pid), loop).result()


async def phases(here: Road, watched: Watched, pid: int) -> list[tuple[object, ...]]:
    """Each phase, ours and the floor's in turn."""
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as http, connected(here.address("REDIS_URL")) as redis:
        bench = Bench(here, watched, pid, http, redis)
        await bench.prepare()
        ours: dict[str, list[tuple[float, float]]] = {"before": [], "amid": []}
        bare: dict[str, list[tuple[float, float]]] = {"before": [], "amid": []}
        queued = []
        for number in range(TRIALS):
            for phase, seen in ours.items():
                seen.append(await again(bench.cancelled, number, phase))
                bare[phase].append(await again(bench.closed, number, phase))
            queued.append(await bench.cancelled_in_queue(number))
    rows: list[tuple[object, ...]] = [
        ("in the queue", "DELETE until its place is free", *both(queued), "–", "–", "ms"),
    ]
    for phase, name in (("before", "before the first token"), ("amid", "amid the answer")):
        for at, what in enumerate(("DELETE (or close) until our call is closed", "closed until the model has stopped")):
            rows.append((name, what, *both([o[at] for o in ours[phase]]), *both([b[at] for b in bare[phase]]), "ms"))
    return rows


class TooSoon(Exception):
    """The model had said all before it could be stopped: no trial."""


async def again(
    trial: Callable[[int, str], Awaitable[tuple[float, float]]], number: int, phase: str
) -> tuple[float, float]:
    """A trial, repeated where the model was too quick."""
    for attempt in range(12):
        with contextlib.suppress(TooSoon):
            return await trial(number + 7 * attempt, phase)  # of another house
    raise SystemExit("the model never wrote long enough to be stopped")


def both(seconds: list[float]) -> tuple[float, float]:
    """Median and worst, in ms."""
    sample = Sample(seconds, 0.0)
    return sample.percentile(0.5), sample.percentile(1.0)


class Bench:
    """One run, and what is asked of it."""

    def __init__(self, here: Road, watched: Watched, pid: int, http: aiohttp.ClientSession, redis: Redis) -> None:
        self.here, self.watched, self.pid, self.http, self.redis = here, watched, pid, http, redis
        self.passages: list[dict[str, Any]] = []

    async def prepare(self) -> None:
        """Documents to ask about, and a first answer."""
        for document in documents(20):
            url = f"{self.here.api}/v1/documents/{document['id'].replace('/', '%2F')}"
            async with self.http.put(url, json={"title": document["title"], "text": document["text"]}) as response:
                assert response.status == 202, await response.text()
        while not self.passages:
            async with self.asked("Who built house 3?") as events:
                async for event, data in events:
                    if event == "passages":
                        self.passages = data["passages"]

    @contextlib.asynccontextmanager
    async def asked(self, question: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
        """The events of a new answer."""
        body = {"question": question, "cache": "off"}
        async with self.http.post(f"{self.here.api}/v1/answers", json=body, headers=STREAM) as response:
            assert response.status == 200, await response.text()
            yield _events(response)

    async def cancelled(self, number: int, phase: str) -> tuple[float, float]:
        """Seconds from a DELETE until our call is closed, and from there until the model has stopped."""
        await self.idle()
        known = len(self.watched.calls)
        async with self.asked(asking_for(number)) as events:
            answer_id = (await anext(events))[1]["id"]
            call = await self._reached(phase, known)
            begun = time.perf_counter()
            await self.delete(answer_id)
            return await self._stopped(begun, call)

    async def closed(self, number: int, phase: str) -> tuple[float, float]:
        """The same for a client that asks the model and just closes its connection."""
        await self.idle()
        known = len(self.watched.calls)
        shown = self.passages[number % len(self.passages) :] + self.passages[: number % len(self.passages)]
        composed = prompt.compose(asking_for(number + 7), shown, {}, 8192, BUDGET)
        body = {"model": NAME, "messages": composed.messages, "stream": True, "options": {**composed.options, **LONG}}
        asking = asyncio.create_task(self._bare(body))
        call = await self._reached(phase, known)
        begun = time.perf_counter()
        asking.cancel()
        return await self._stopped(begun, call)

    async def _bare(self, body: dict[str, Any]) -> None:
        async with self.http.post(f"{self.watched.url}/api/chat", json=body) as response:
            async for _ in response.content:
                pass

    async def _reached(self, phase: str, known: int) -> Call:
        """The call once it is in the phase, in the middle of it."""
        await _until(lambda: len(self.watched.calls) > known)
        call = self.watched.calls[known]
        if phase == "amid":
            await _until(lambda: call.first is not None)
        await asyncio.sleep({"before": 0.1, "amid": 0.02}[phase])
        return call

    async def _stopped(self, begun: float, call: Call) -> tuple[float, float]:
        await _until(lambda: call.ended is not None)
        assert call.ended is not None
        if not call.closed or call.ended < begun or (call.first or 0) > begun:
            raise TooSoon
        return call.ended - begun, max(0.0, await self.idle() - call.ended)

    async def cancelled_in_queue(self, number: int) -> float:
        """Seconds from a DELETE of what waits for the model until its place in the queue is free."""
        await self.idle()
        known = len(self.watched.calls)
        async with self.asked(asking_for(number)) as first:
            first_id = (await anext(first))[1]["id"]
            await _until(lambda: len(self.watched.calls) > known)
            async with self.asked(asking_for(number + 1)) as second:
                second_id = (await anext(second))[1]["id"]
                await _until(self._waiting)
                begun = time.perf_counter()
                await self.delete(second_id)
                await _until(lambda: self._waiting(0))
                seconds = time.perf_counter() - begun
            await self.delete(first_id)
        await _until(lambda: self.watched.calls[known].ended is not None)
        assert len(self.watched.calls) == known + 1, "what was cancelled in the queue was asked of the model"
        return seconds

    async def _waiting(self, count: int = 1) -> bool:
        return int(await self.redis.zcard(f"knts:queue:{NAME}")) == count

    async def delete(self, answer_id: str) -> None:
        """Ask for its end."""
        async with self.http.delete(f"{self.here.api}/v1/answers/{answer_id}") as response:
            assert response.status == 204, await response.text()

    async def idle(self) -> float:
        """Wait until the model does nothing; when that began."""
        quiet, since = 0, 0.0
        while quiet < 3:
            at, before = time.perf_counter(), cpu_seconds(self.pid)
            await asyncio.sleep(WINDOW)
            busy = (cpu_seconds(self.pid) - before) / (time.perf_counter() - at)
            quiet, since = (quiet + 1, since or at) if busy < IDLE else (0, 0.0)
        return since


def asking_for(number: int) -> str:
    """A question that is answered at some length."""
    return f"Tell everything that is written about house {number % 20}, word by word ({number})."


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, to the nanosecond."""
    total = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may have ended meanwhile
            total += int(stat.read_text().split()[0])
    return total / 1e9


async def _until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Look every millisecond until it holds."""
    async with asyncio.timeout(60):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.001)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    event = ""
    async for line in response.content:
        if line.startswith(b"event: "):
            event = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield event, orjson.loads(line[6:])


if __name__ == "__main__":
    asyncio.run(main())
