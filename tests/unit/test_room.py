"""Large bodies take turns, small ones do not wait, and nothing is lost however a request ends."""

import asyncio
import random

import pytest

from knts.room import SMALL, Room

BIG = 10 * SMALL


async def use(room: Room, size: int, until: asyncio.Event) -> None:
    """A request."""
    await room.take(size)
    await until.wait()


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_does_not_fit_waits_for_its_turn() -> None:
    room, first_ends, others_end = Room(2 * BIG), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(use(room, 2 * BIG, first_ends))
    await turns()
    others = [asyncio.create_task(use(room, BIG, others_end)) for _ in range(3)]
    await turns()
    assert room.free == 0
    first_ends.set()
    await first
    await turns()
    assert room.free == 0  # two of the three
    others_end.set()
    await asyncio.gather(*others)
    await turns()
    assert room.free == room.size


async def test_small_bodies_never_wait() -> None:
    room, end = Room(BIG), asyncio.Event()
    holder = asyncio.create_task(use(room, BIG, end))
    await turns()
    async with asyncio.timeout(1):
        await room.take(SMALL)
    end.set()
    await holder


async def test_a_body_larger_than_all_there_is_has_it_for_itself() -> None:
    room, end = Room(BIG), asyncio.Event()
    holder = asyncio.create_task(use(room, 5 * BIG, end))
    await turns()
    assert room.free == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.take(SMALL + 1)
    end.set()
    await holder
    await turns()
    assert room.free == room.size


@pytest.mark.parametrize("seed", range(20))
async def test_however_requests_end_all_room_comes_back(seed: int) -> None:
    chance, room, end = random.Random(seed), Room(3 * BIG), asyncio.Event()
    requests = [asyncio.create_task(use(room, chance.randrange(5 * BIG), end)) for _ in range(40)]
    for request in chance.sample(requests, 30):
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        request.cancel()
        assert 0 <= room.free <= room.size
    end.set()
    await asyncio.gather(*requests, return_exceptions=True)
    await turns()
    assert room.free == room.size
