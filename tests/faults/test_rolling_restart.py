"""Each function is stopped by SIGTERM in turn while people work: nothing is lost, and nobody hears of it."""

import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.processes import FUNCTIONS, until
from tests.faults.replicas import Replica, Replicated
from tests.faults.world import World, Worlds

GRACE = 5.0  # KNTS_SHUTDOWN_GRACE of a local run
LATE = 10.0  # what a process may need beside it on a loaded machine: leases given up, traces flushed
SLOW = 0.4  # seconds between two words: what is open at SIGTERM lasts longer than the grace


@pytest.mark.timeout(300)
async def test_a_rolling_restart_loses_nothing(world: Worlds) -> None:
    async with world() as w:
        working = asyncio.create_task(w.load.work())
        for name in FUNCTIONS:
            if name == "ingress":
                continue
            await restart(w, name)
        unheard = dict(w.load.answered)
        await restart(w, "ingress")
        w.load.stopping = True
        await working
        await w.quiet()
        assert await w.faults() == []
        undesigned = {
            what for what in unheard if not what.endswith((": 200", ": 202", ": 503", "completed", "abstained"))
        }
        assert undesigned == set()


async def restart(w: World, name: str) -> None:
    """Stop a function as a platform does: it ends in time and in order. Then wait until the next one is ready."""
    before = w.processes.send(name, signal.SIGTERM)
    ended = endings(w, name)
    await until(lambda: not Path(f"/proc/{before}").exists(), GRACE + LATE)
    await until(lambda: w.processes.pid(name) not in (None, before), 60)
    assert endings(w, name)[len(ended) :] == ["status 0"]
    await w.processes.calm()
    await asyncio.sleep(1)


def endings(w: World, name: str) -> list[str]:
    """How the processes of this name have ended so far, in the supervisor's words."""
    assert w.processes.road.home is not None
    return re.findall(rf"^  {name} ended \((.*?)\)", (w.processes.road.home / "said").read_text(), re.MULTILINE)


@pytest.mark.timeout(200)
async def test_open_streams_are_taken_up_at_another_ingress(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        many.ollama.pace = SLOW
        asking = await listening(w, 30)
        await ends_in_order(many, many.of("ingress")[1])
        many.ollama.pace = 0.0
        await completed(w, asking)
        assert w.load.answered["resume: 200"] >= 5


@pytest.mark.timeout(200)
async def test_an_open_generation_is_taken_over_by_another_llm_answer(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        many.ollama.pace, before = SLOW, len(many.ollama.calls)
        asking = await listening(w, 30)
        joined = next(frame for heard in w.load.heard for frame in heard.frames if frame.event == "joined")
        leader = await many.leader(joined.data["flight"])
        if leader.child is None:
            await restart(w, leader.function)
        else:
            await ends_in_order(many, leader)
        many.ollama.pace = 0.0
        await completed(w, asking)
        assert len(many.ollama.calls) - before == 2


async def listening(w: World, askers: int) -> "list[asyncio.Task[object]]":
    """So many who ask the same, once all of them hear words."""
    request = w.load.question(w.load.places[0], "refresh")
    asking = [asyncio.create_task(w.load.listen(request)) for _ in range(askers)]
    await until(lambda: sum(any(f.event == "delta" for f in heard.frames) for heard in w.load.heard) == askers, 60)
    return [*asking]


async def ends_in_order(many: Replicated, replica: Replica) -> None:
    """SIGTERM; the process ends within its grace, with status 0, whatever it has open."""
    many.send(replica, signal.SIGTERM)
    assert replica.child is not None
    assert await asyncio.to_thread(replica.child.popen.wait, GRACE + LATE) == 0


async def completed(w: World, asking: "list[asyncio.Task[object]]") -> None:
    """All of them are answered, without a gap or a repetition."""
    await asyncio.gather(*asking)
    assert Counter(heard.outcome for heard in w.load.heard) == {"completed": len(asking)}
    await w.load.reread()
    assert w.streams() == []
