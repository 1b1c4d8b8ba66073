"""One tailer on a real Valkey: every frame, once, in order, whatever becomes of wake-ups, connections and readers."""

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from knts.channel import Frame, entry_order
from knts.clients.follower import COUNT, Follower
from knts.clients.redis import Redis, connected
from knts.clients.tailer import Tailer
from knts.errors import Temporary
from knts.local.servers import durable_valkey, started

NEVER = 3600.0  # seconds between sweeps where a test is about wake-ups alone


async def append(redis: Redis, key: str, *numbers: int, wake: bool = True) -> None:
    """What a function does: an entry, then a wake-up."""
    async with redis.pipeline(transaction=True) as pipeline:
        for number in numbers:
            pipeline.xadd(key, {"type": "delta", "data": orjson.dumps({"n": number})})
        if wake:
            pipeline.publish(key, "")
        await pipeline.execute()


async def numbers_until(follower: Follower, last: int) -> list[int]:
    """Everything that is read until a number comes."""
    found: list[int] = []
    async with asyncio.timeout(20):
        while not found or found[-1] != last:
            found += [frame.data["n"] for _, frame in await follower.read(5)]
    return found


async def subscribed(redis: Redis, key: str) -> None:
    async with asyncio.timeout(5):
        while not dict(await redis.pubsub_numsub(key))[key.encode()]:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.005)


async def test_a_wake_up_is_enough(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        follower = tailer.follower()
        follower.follow("s", "0")
        reading = asyncio.create_task(numbers_until(follower, 3))
        await subscribed(redis, "s")
        for number in range(4):
            await append(redis, "s", number)
        assert await reading == [0, 1, 2, 3]


async def test_without_wake_ups_the_sweep_finds_everything(redis: Redis) -> None:
    async with Tailer(redis, sweep=0.02).running() as tailer:
        follower = tailer.follower()
        follower.follow("s", "0")
        reading = asyncio.create_task(numbers_until(follower, 3))
        for number in range(4):
            await append(redis, "s", number, wake=False)
            await asyncio.sleep(0.03)
        assert await reading == [0, 1, 2, 3]


async def test_a_frame_between_looking_and_subscribing_is_not_missed(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        for number in range(40):
            follower = tailer.follower()
            follower.follow(f"s{number}", "0")
            reading = asyncio.create_task(numbers_until(follower, 1))
            await asyncio.sleep(0.0002 * (number % 10))
            await append(redis, f"s{number}", 1)
            assert await reading == [1]
            follower.close()


async def test_a_reader_that_is_slow_gets_everything_all_the_same(redis: Redis) -> None:
    async with Tailer(redis, sweep=0.05).running() as tailer:
        slow, quick = tailer.follower(), tailer.follower()
        for follower in (slow, quick):
            follower.follow("s", "0")
        await append(redis, "s", 0)
        assert await numbers_until(slow, 0) == await numbers_until(quick, 0) == [0]
        reading = asyncio.create_task(numbers_until(quick, 999))
        for start in range(1, 1000, 37):
            await append(redis, "s", *range(start, min(start + 37, 1000)))
            await asyncio.sleep(0.002)
        assert await reading == list(range(1, 1000))
        assert await numbers_until(slow, 999) == list(range(1, 1000))


async def test_more_than_one_read_can_take_comes_whole(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        early, late = tailer.follower(), tailer.follower()
        early.follow("s", "0")
        reading = asyncio.create_task(numbers_until(early, 3 * COUNT))
        await subscribed(redis, "s")
        await append(redis, "s", *range(3 * COUNT + 1))
        late.follow("s", "0")
        assert await reading == await numbers_until(late, 3 * COUNT) == list(range(3 * COUNT + 1))


async def test_a_thousand_readers_of_one_stream_cost_few_reads(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        followers = [tailer.follower() for _ in range(1000)]
        for follower in followers:
            follower.follow("s", "0")
        readings = [asyncio.create_task(numbers_until(follower, 19)) for follower in followers]
        await subscribed(redis, "s")
        async with asyncio.timeout(10):
            while sum(len(stream.followers) for stream in tailer._streams.values()) < 1000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        before = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
        for number in range(20):
            await append(redis, "s", number)
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*readings) == [list(range(20))] * 1000
        assert (await redis.info("commandstats"))["cmdstat_xread"]["calls"] - before < 100


async def test_two_streams_come_in_the_order_of_their_entries(redis: Redis) -> None:
    async with Tailer(redis, sweep=0.05).running() as tailer:
        follower = tailer.follower()
        follower.follow("ask", "0")
        follower.follow("flow", "0")
        found: list[tuple[str, Frame]] = []

        async def read() -> None:
            while len(found) < 300:
                found.extend(await follower.read(5))

        reading = asyncio.create_task(read())
        for number in range(300):
            await append(redis, "ask" if number % 7 == 3 else "flow", number)
        async with asyncio.timeout(20):
            await reading
        assert sorted(frame.data["n"] for _, frame in found) == list(range(300))
        for key in ("ask", "flow"):
            own = [entry_order(frame.id) for stream, frame in found if stream == key]
            assert own == sorted(own)


async def test_when_nobody_follows_nothing_is_subscribed_or_read(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        follower = tailer.follower()
        follower.follow("s", "0")
        assert await follower.read(0.05) == []
        await subscribed(redis, "s")
        assert tailer.following == 1
        follower.close()
        assert tailer.following == 0
        async with asyncio.timeout(5):
            while dict(await redis.pubsub_numsub("s"))[b"s"]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_an_ended_answer_is_read_without_subscribing(redis: Redis) -> None:
    async with Tailer(redis, sweep=NEVER).running() as tailer:
        await append(redis, "s", 1, 2)
        follower = tailer.follower()
        follower.follow("s", "0")
        assert [frame.data["n"] for _, frame in await follower.read(0)] == [1, 2]
        assert tailer.following == 0


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_the_clock_is_the_servers_from_the_beginning(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    with monkeypatch.context() as patched:
        real = time.time
        patched.setattr(time, "time", lambda: real() + 3600 * hours)
        tailer = Tailer(redis)
    async with tailer.running():
        seconds, micros = await redis.time()
        assert abs(tailer.now_ms() - (seconds * 1000 + micros / 1000)) < 1000


async def test_a_restart_of_redis_in_mid_stream_loses_and_repeats_nothing(tmp_path: Path) -> None:
    server = durable_valkey(tmp_path / "data", tmp_path / "log")
    child = started(server)
    try:
        async with connected(server.url) as redis, Tailer(redis, sweep=0.1).running() as tailer:
            follower, newcomer = tailer.follower(), tailer.follower()
            follower.follow("s", "0")
            newcomer.follow("s", "0")
            reading = asyncio.create_task(numbers_until(follower, 59))
            for number in range(60):
                if number % 20 == 10:
                    child.popen.kill()
                    child.popen.wait()
                    with pytest.raises(Temporary):
                        await newcomer.read(0)
                    child = await asyncio.to_thread(started, server)
                async with connected(server.url) as writer:
                    await append(writer, "s", number)
            assert await reading == list(range(60))
            assert await numbers_until(newcomer, 59) == list(range(60))
            await subscribed(redis, "s")
    finally:
        child.stop()
