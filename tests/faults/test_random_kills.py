"""Everything is killed at random moments while documents change, people search and ask: nothing is lost or doubled."""

import asyncio
import os

import pytest

from tests.faults.world import Worlds

SECONDS = float(os.environ.get("KNTS_FAULT_SECONDS", "90"))


@pytest.mark.timeout(SECONDS + 500)
async def test_nothing_is_lost_doubled_or_left_waiting(world: Worlds) -> None:
    async with world() as w:
        working = asyncio.create_task(w.load.work())
        await w.processes.torment(w.load.chance, SECONDS)
        w.load.stopping = True
        await w.processes.calm()
        await working
        await w.quiet(300)
        assert w.load.answered["search: 200"]
        assert w.load.answered["ask: completed"]
        assert await w.faults() == []
