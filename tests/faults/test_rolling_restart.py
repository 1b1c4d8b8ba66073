"""Each function is stopped by SIGTERM in turn while people work: nothing is lost, and nobody hears of it."""

import asyncio
import signal

import pytest

from tests.faults.processes import FUNCTIONS, until
from tests.faults.world import World, Worlds


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
    """Stop a function as a platform does, and wait until the next one is ready."""
    before = w.processes.send(name, signal.SIGTERM)
    await until(lambda: w.processes.pid(name) not in (None, before), 60)
    await w.processes.calm()
    await asyncio.sleep(1)
