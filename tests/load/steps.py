"""The rising load: a local run of its own, Locust's users in steps up to the knee and past it, then few of them again.

All parts are real. An answer's deadline is shortened, so that what waits for the model ends within the step after.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.e2e.roads import ROOT, start_road
from tests.faults import state
from tests.faults.processes import Processes
from tests.load import corpus
from tests.load.calls import Call, Step, read, written
from tests.load.figures import StepFigures, Verdict, figures, judged, knee
from tests.load.report import plot, said, tables
from tests.load.sampling import LOAD, Watch

ANSWER_DEADLINE = 20  # seconds
LOCUST = Path(__file__).with_name("locustfile.py")


@dataclass(frozen=True)
class Plan:
    """Numbers of users, the seconds of each step, and those of the light load afterwards."""

    users: tuple[int, ...] = (10, 40, 80, 160, 320, 640, 1280)
    seconds: float = 20.0
    after: float = 30.0

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return len(self.users) * self.seconds + self.after


@dataclass
class Found:
    """What a run has left."""

    calls: list[Call]
    steps: list[Step]
    watch: Watch
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def run(plan: Plan, out: Path, home: Path) -> Verdict:
    """Run it; tables, plot and record are written to `out` and the tables printed."""
    record = out / "record.jsonl"
    record.unlink(missing_ok=True)
    road = start_road(home, KNTS_FIRST_DOCUMENTS="none", KNTS_ANSWER_DEADLINE=str(ANSWER_DEADLINE), LOG_LEVEL="WARNING")
    try:
        found = asyncio.run(loaded(Processes(road), plan, out, record))
    finally:
        road.stop()
    by_step = [figures(step, found.calls, found.watch.samples) for step in found.steps]
    verdict = judged(found.calls, by_step, found.watch.lost)
    verdict.faults += found.faults
    verdict.told += found.told
    tell(by_step, verdict, plan, out)
    return verdict


def tell(by_step: list[StepFigures], verdict: Verdict, plan: Plan, out: Path) -> None:
    """Write and print."""
    peak = knee(by_step)
    head = (
        f"{os.cpu_count()} cores for everything; steps of {plan.seconds:g} s, then {plan.after:g} s of "
        f"{plan.users[0]} users. The knee, up to which users are answered at their pace: {peak.step.users} users, "
        f"{peak.answered:.1f} answers a second."
    )
    text = "\n\n".join([head, tables(by_step), "### Verdict", said(verdict)]) + "\n"
    (out / "steps.md").write_text(text, encoding="utf-8")
    plot(by_step, out / "load.svg")
    print(text)
    print(f"written to {out}: steps.md, load.svg, record.jsonl, locust.txt")


async def loaded(processes: Processes, plan: Plan, out: Path, record: Path) -> Found:
    """Put documents in, ask the repeated questions once, run the users, and look at what is left."""
    road = processes.road
    async with aiohttp.ClientSession(road.base_url, timeout=aiohttp.ClientTimeout(total=60)) as http:
        await prepared(http)
        watch = Watch.of(processes)
        async with watch.watching():
            await locust(road.base_url, plan, out, record, watch)
            settled = await drained(processes)
            left, accepted = await unindexed(http)
        calls, steps, _ = read(record.read_text().splitlines())  # noqa: ASYNC240 - the run is over
        with record.open("a") as more:
            more.writelines(written(sample) + "\n" for sample in watch.samples)
        found = Found(calls, steps, watch)
        if settled is None:
            found.faults.append("the Broker still has events to deliver two minutes after the load")
        else:
            found.told.append(f"the Broker's queues were empty {settled:.1f} s after the run")
        found.faults += [f"{name} was started again" for name, pid in watch.pids.items() if moved(processes, name, pid)]
        found.faults += left
        found.told.append(f"{accepted} documents that were written under load are indexed in their last version")
        return found


def moved(processes: Processes, name: str, pid: int) -> bool:
    """Whether a process of the run is another one now."""
    return name != LOAD and processes.pid(name) != pid


async def prepared(http: aiohttp.ClientSession) -> None:
    """The standing documents are indexed and the repeated questions answered."""
    lines = b"\n".join(json.dumps(document).encode() for document in corpus.standing_documents())
    async with http.post("/v1/documents", data=lines, headers={"Content-Type": "application/x-ndjson"}) as response:
        body = await response.json()
        assert not body["refused"], body
    async with asyncio.timeout(120):
        for document in corpus.standing_documents():
            while (await record_of(http, document["id"])).get("status") != "indexed":  # noqa: ASYNC110 - others index
                await asyncio.sleep(0.1)
    for number in range(corpus.REPEATED):
        question = {"question": corpus.question(corpus.PLACES[number])}
        async with http.post("/v1/answers", json=question, headers={"Accept": "application/json"}) as response:
            assert response.status == 200, await response.text()


async def record_of(http: aiohttp.ClientSession, document_id: str) -> dict[str, object]:
    async with http.get(f"/v1/documents/{document_id.replace('/', '%2F')}") as response:
        found: dict[str, object] = await response.json() if response.status == 200 else {}
        return found


async def locust(host: str, plan: Plan, out: Path, record: Path, watch: Watch) -> None:
    """Run Locust to its end; it is bounded by its plan and, should it hang, by us."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KNTS_LOAD_STEPS": ",".join(map(str, plan.users)),
        "KNTS_LOAD_SECONDS": str(plan.seconds),
        "KNTS_LOAD_AFTER": str(plan.after),
        "KNTS_LOAD_RECORD": str(record),
    }
    options = ["--headless", "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"]
    command = ["-m", "locust", "-f", str(LOCUST), "--host", host, *options, "--stop-timeout", str(ANSWER_DEADLINE + 5)]
    with (out / "locust.txt").open("wb") as said_by_locust:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=env, stdout=said_by_locust, stderr=said_by_locust
        )
        watch.pids[LOAD] = process.pid
        told = asyncio.create_task(announced(record))
        try:
            async with asyncio.timeout(plan.total + 2 * (ANSWER_DEADLINE + 5) + 60):
                status = await process.wait()
        finally:
            told.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert status == 0, (out / "locust.txt").read_text()[-4000:]


async def announced(record: Path) -> None:
    """Say each step when it begins."""
    while not (steps := read(record.read_text().splitlines())[1] if record.exists() else []):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.2)
    for step in steps:
        await asyncio.sleep(max(0.0, step.began - time.monotonic()))
        print(f"  {step.users} users for {step.seconds:.0f} s{', after the load' if step.after else ''}", flush=True)


async def drained(processes: Processes) -> float | None:
    """Seconds until the Broker has nothing more to deliver, or None."""
    try:
        return await state.settled(processes, 120)
    except TimeoutError:
        return None


async def unindexed(http: aiohttp.ClientSession) -> tuple[list[str], int]:
    """Documents whose last accepted version is neither indexed nor refused; and how many are indexed in their last."""
    records = {name: await record_of(http, name) for name in map("written/{}".format, range(corpus.WRITTEN))}
    left = [
        f"{name} was accepted and is still pending" for name, one in records.items() if one.get("status") == "pending"
    ]
    return left, sum(1 for one in records.values() if one.get("status") == "indexed")
