"""Thousands of answer streams held open on one ingress: its memory, and that every word still reaches all of them.

Everybody asks one question, each with an ask of his own that takes the whole road: through Broker and search to the one
generation that all of them share. Ollama is a stand-in that keeps this generation open; all else is real.
"""

import asyncio
import json
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.roads import start_road
from tests.faults.processes import EVERYTHING, Processes
from tests.load import corpus
from tests.load.figures import Verdict
from tests.load.held_model import HeldModel
from tests.load.report import said, table
from tests.load.sampling import Watch, sampled

STREAMS = 5000
MOST_MIB = 512.0
SPARE = 500  # file descriptors for everything that is no stream
OPENING = 50  # streams that are being opened at a time: until the answer has joined its flight
HEARTBEAT = 15.0
PATIENCE = 300.0  # seconds until something counts as never coming; long, since all share one machine
EVENTS = {"Accept": "text/event-stream"}
QUESTION = {"question": corpus.question(corpus.PLACES[0])}
SENTENCES = (
    f"The keeper of the lighthouse of {corpus.PLACES[0]} is {corpus.NAMES[0]}. ",
    f"The lighthouse of {corpus.PLACES[0]} was built of granite. ",
)


@dataclass
class Stream:
    """One asker: what he has heard."""

    events: Counter[str] = field(default_factory=Counter)
    text: str = ""
    beats: int = 0
    last: str = ""
    fault: str = ""

    @property
    def ended(self) -> bool:
        return bool(self.last)

    @property
    def joined(self) -> bool:
        return bool(self.fault or self.last or self.events["joined"])

    def take(self, event: str, data: dict[str, Any]) -> None:
        """An event of the stream."""
        self.events[event] += 1
        if event == "delta":
            self.text += data["text"]
        elif event == "reset":
            self.text = ""
        elif event in ("completed", "abstained", "failed", "cancelled"):
            self.last = event


@dataclass
class Crowd:
    """All askers of a run."""

    http: aiohttp.ClientSession
    streams: list[Stream] = field(default_factory=list)
    refused: int = 0
    opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENING))

    async def ask(self, stream: Stream) -> None:
        """Ask, again where it is told to come later, and listen to the end."""
        await self.opening.acquire()
        opened = False
        try:
            while True:
                async with self.http.post("/v1/answers", json=QUESTION, headers=EVENTS) as answer:
                    if answer.status == 200:
                        async for event, data in listened(answer, stream):
                            stream.take(event, data)
                            if stream.joined and not opened:
                                opened = True
                                self.opening.release()
                        if stream.last != "completed":
                            stream.fault = f"ended {stream.last or 'without a last event'}"
                        return
                    wait = answer.headers.get("Retry-After", "")
                    if answer.status not in (429, 503) or not wait.isdigit():
                        stream.fault = f"answered {answer.status}: {(await answer.text())[:200]}"
                        return
                self.refused += 1
                await asyncio.sleep(float(wait))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            stream.fault = f"the connection failed: {type(error).__name__}: {error}"
        finally:
            if not opened:
                self.opening.release()

    async def all(self, holds: Callable[[Stream], bool], what: str) -> float:
        """Seconds until it holds for each. Raises AssertionError where it never does, or a stream has failed."""
        began = time.monotonic()
        while not all(holds(stream) or stream.fault for stream in self.streams):
            late = [stream for stream in self.streams if not holds(stream)]
            assert time.monotonic() - began < PATIENCE, f"{len(late)} streams never {what}; one has {late[0]}"
            await asyncio.sleep(0.1)
        faults = Counter(stream.fault or "" for stream in self.streams)
        del faults[""]
        assert not faults, f"while streams {what}: {faults.most_common(3)}"
        return time.monotonic() - began


async def listened(answer: aiohttp.ClientResponse, stream: Stream) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Type and data of a stream's events; heartbeats are counted."""
    event = ""
    async for raw in answer.content:
        name, _, value = raw.decode().rstrip("\n").partition(":")
        if name == "event":
            event = value.strip()
        elif name == "data":
            yield event, json.loads(value)
        elif raw.startswith(b":"):
            stream.beats += 1


@dataclass
class Held:
    """What a run has seen, in rows of a table: when, what, and ingress' memory and descriptors at that moment."""

    watch: Watch
    rows: list[tuple[object, ...]] = field(default_factory=list)

    def note(self, what: str, seconds: float | None = None) -> None:
        """A row of now."""
        now = sampled("ingress", self.watch.pids["ingress"])
        assert now is not None, "ingress is gone"
        print(f"  {what}", flush=True)
        self.rows.append((what, "–" if seconds is None else f"{seconds:.1f}", f"{now.rss_mib:.0f}", now.descriptors))

    @property
    def peak_mib(self) -> float:
        """The most memory that ingress had in any sample."""
        return max(sample.rss_mib for sample in self.watch.samples if sample.process == "ingress")


async def held(base_url: str, model: HeldModel, count: int, run: Held) -> Crowd:
    """Open the streams, leave them idle, speak to all of them, and let them end. Raises AssertionErrors in a group."""
    run.note("before")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as http:
        await prepared(http)
        await model.say(SENTENCES[0])
        crowd = Crowd(http, [Stream() for _ in range(count)])
        async with asyncio.TaskGroup() as tasks:
            for stream in crowd.streams:
                tasks.create_task(crowd.ask(stream))
            run.note("all are open and joined", await crowd.all(lambda stream: stream.joined, "joined their answer"))
            seconds = await crowd.all(lambda stream: SENTENCES[0].strip() in stream.text, "heard the first words")
            run.note("all have the first words", seconds)
            marks = {id(stream): stream.beats for stream in crowd.streams}
            seconds = await crowd.all(lambda stream: stream.beats >= marks[id(stream)] + 2, "heard two heartbeats")
            run.note("idle, until all had two heartbeats", seconds)
            run.note("a search meanwhile", await searched(http))
            await model.say(SENTENCES[1])
            seconds = await crowd.all(lambda stream: SENTENCES[1].strip() in stream.text, "heard the next words")
            run.note("all have the next words", seconds)
            await model.end()
            run.note("all have the last event", await crowd.all(lambda stream: stream.ended, "ended"))
    began, most = time.monotonic(), int(str(run.rows[0][3])) + SPARE  # its pools towards Redis and Broker stay
    while (now := sampled("ingress", run.watch.pids["ingress"])) and now.descriptors > most:
        assert time.monotonic() - began < PATIENCE, f"ingress keeps {now.descriptors} descriptors"
        await asyncio.sleep(0.2)
    run.note("all connections are closed", time.monotonic() - began)
    return crowd


async def searched(http: aiohttp.ClientSession) -> float:
    """Seconds that a search took."""
    began = time.monotonic()
    async with http.get("/v1/search", params={"q": corpus.PLACES[0]}) as response:
        assert response.status == 200, f"a search meanwhile: {response.status} {await response.text()}"
    return time.monotonic() - began


async def prepared(http: aiohttp.ClientSession) -> None:
    """The documents that the question is answered from are indexed."""
    for document in corpus.standing_documents()[:20]:
        path = "/v1/documents/" + document["id"].replace("/", "%2F")
        async with http.put(path, json={"title": document["title"], "text": document["text"]}) as response:
            assert response.status == 202, await response.text()
        async with asyncio.timeout(60):
            while True:
                async with http.get(path) as response:
                    if (await response.json())["status"] == "indexed":
                        break
                await asyncio.sleep(0.05)


def judge(run: Held, crowd: Crowd, model: HeldModel) -> Verdict:
    """What holds of a run that came to its end."""
    verdict = Verdict([f"{name} did not live through the run" for name in run.watch.lost])
    if run.peak_mib > MOST_MIB:
        verdict.faults.append(f"ingress took {run.peak_mib:.0f} MiB; at most {MOST_MIB:.0f} are promised")
    texts = Counter(stream.text for stream in crowd.streams)
    lasts = Counter(stream.last for stream in crowd.streams)
    if len(texts) > 1:
        verdict.faults.append(f"the streams differ: {texts.most_common(3)}")
    if set(lasts) != {"completed"}:
        verdict.faults.append(f"the streams ended so: {dict(lasts)}")
    idle = float(str(run.rows[0][2]))
    per_stream = (run.peak_mib - idle) * 1024 / len(crowd.streams)
    verdict.told += [
        f"ingress took {run.peak_mib:.0f} MiB at most (512 are allowed): {per_stream:.0f} KiB a stream",
        f"{crowd.refused} times a stream was told to come later while the streams were opened",
        f"the model wrote {len(model.asked)} answer(s) for {len(crowd.streams)} askers",
    ]
    return verdict


def run(count: int, out: Path, home: Path) -> Verdict:
    """Run it; the report is printed and written to `out`. Exits where this machine allows too few open files."""
    allow_descriptors(count + SPARE)
    verdict, text = asyncio.run(_run(count, home))
    (out / "streams.md").write_text(text, encoding="utf-8")
    print(text)
    return verdict


async def _run(count: int, home: Path) -> tuple[Verdict, str]:
    async with HeldModel().serving() as model:
        env = {
            "KNTS_FIRST_DOCUMENTS": "none",
            "LOG_LEVEL": "WARNING",
            "KNTS_ANSWER_DEADLINE": "1200",
            "KNTS_HEARTBEAT": f"{HEARTBEAT:g}",
            "OLLAMA_URL": model.url,
            "OLLAMA_MODEL": "small",
            "OLLAMA_IDLE_TIMEOUT": "900",
            "OLLAMA_TOTAL_TIMEOUT": "1200",
        }
        road = await asyncio.to_thread(lambda: start_road(home, **env))
        try:
            processes = Processes(road)
            names = [name for name in EVERYTHING if name != "model"]
            async with Watch.of(processes, names).watching() as watch:
                seen = Held(watch)
                verdict = await _judged(road.base_url, model, count, seen)
        finally:
            await asyncio.to_thread(road.stop)
    heads = ("what", "s", "ingress, MiB", "its file descriptors")
    return verdict, "\n\n".join([f"### {count} open streams", table(heads, seen.rows), said(verdict)]) + "\n"


async def _judged(base_url: str, model: HeldModel, count: int, seen: Held) -> Verdict:
    try:
        return judge(seen, await held(base_url, model, count, seen), model)
    except* AssertionError as group:
        broken = Verdict([str(error) for error in group.exceptions])
    return broken


def allow_descriptors(wanted: int) -> None:
    """Raise our limit of open files, which the run's processes inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    most = wanted if hard == resource.RLIM_INFINITY or hard >= wanted else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        raise SystemExit(
            f"the open streams were not tried: they need {wanted} open files a process, and this machine allows "
            f'{hard} (`ulimit -Hn`); raise it, or try fewer with ARGS="streams --streams {hard - SPARE}"'
        )
