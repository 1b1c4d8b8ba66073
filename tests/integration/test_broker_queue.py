"""What the broker has accepted it delivers, whatever is killed in between; what it can't hold it refuses."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knts.clients.redis import Redis, connected
from knts.devbroker.entries import Entry, queue_key
from knts.devbroker.store import QueueFull, Store
from knts.errors import Temporary
from knts.local.process import Child
from knts.local.servers import durable_valkey, started
from tests.integration.broker_world import (
    FAST,
    broker,
    broker_manifest,
    depth,
    eventually,
    ping,
    replying,
    subscriber,
    trigger_manifest,
    write_manifests,
)

Ports = Callable[[], int]


async def forever(_: Any) -> int:
    await asyncio.sleep(3600)
    return 202


async def test_killed_between_202_and_delivery_nothing_is_lost(
    redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    async with subscriber() as to, contextlib.AsyncExitStack() as stack:
        # the first ones are held by the subscriber, the rest wait in the stream
        annotations = {"devbroker.kn-ts.dev/parallelism": "4"}
        manifest = trigger_manifest("t", to.answer("/t", forever), annotations=annotations)
        write_manifests(tmp_path, broker_manifest(), manifest)
        running = await stack.enter_async_context(broker(redis_url, free_port(), tmp_path))
        accepted = [event for event in map(ping, range(40)) if await running.post(event) == 202]
        await to.received("/t", 4)
        await running.stop(signal.SIGKILL)
        to.got.clear()

        to.answer("/t", 202)
        await running.start()

        got = await to.received("/t", len(accepted))
        await running.settled(depth("t"), 0)
        assert len(accepted) == 40
        assert sorted(delivery.event.id for delivery in got) == sorted(event.id for event in accepted)


async def test_killed_again_and_again_under_load_nothing_is_lost(
    redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    async with subscriber() as to:
        manifest = trigger_manifest("t", to.answer("/t", replying("test.pong")))
        pong = trigger_manifest("u", f"{to.url}/u", filters=[{"exact": {"type": "test.pong"}}])
        write_manifests(tmp_path, broker_manifest(), manifest, pong)
        accepted: list[str] = []
        async with broker(redis_url, free_port(), tmp_path) as running:
            for turn in range(3):
                publishing = [
                    asyncio.create_task(publish(running, n, accepted)) for n in range(turn * 100, turn * 100 + 100)
                ]
                target = len(accepted) + 5 + 20 * turn
                await eventually(lambda target=target: len(accepted) >= target)
                await running.stop(signal.SIGKILL)
                await asyncio.gather(*publishing)
                await running.start()
            await running.settled(depth("t"), 0)
            await running.settled(depth("u"), 0)
        assert len(accepted) >= 75
        assert set(accepted) <= {delivery.event.id for delivery in to.at("/t")}
        causes = {delivery.event.attributes["causationid"] for delivery in to.at("/u")}
        assert set(accepted) <= causes


async def publish(running: Any, number: int, accepted: list[str]) -> None:
    event = ping(number)
    with contextlib.suppress(aiohttp.ClientError, OSError):
        if await running.post(event) == 202:
            accepted.append(event.id)


async def test_attempts_are_counted_on_after_a_kill(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    async with subscriber() as to:
        delivery = {
            **FAST,
            "retry": 4,
            "backoffPolicy": "linear",
            "backoffDelay": "PT0.4S",
            "deadLetterSink": {"uri": f"{to.url}/dead"},
        }
        write_manifests(tmp_path, broker_manifest(), trigger_manifest("t", to.answer("/t", 500), delivery=delivery))
        async with broker(redis_url, free_port(), tmp_path) as running:
            await running.post(ping())
            await to.received("/t", 3)
            await running.settled('knts_broker_retries_waiting{sink="subscriber",trigger="default/t"}', 1)
            await running.stop(signal.SIGKILL)
            await running.start()
            await to.received("/dead", 1)
            await running.settled(depth("t"), 0)
        assert len(to.at("/t")) == 5


async def test_sigterm_lets_a_delivery_end_and_keeps_the_rest(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    started_one, release = asyncio.Event(), asyncio.Event()

    async def held(_: Any) -> int:
        started_one.set()
        await release.wait()
        return 202

    async with subscriber() as to:
        annotations = {"devbroker.kn-ts.dev/parallelism": "1"}
        write_manifests(
            tmp_path, broker_manifest(), trigger_manifest("t", to.answer("/t", held, 202), annotations=annotations)
        )
        async with broker(redis_url, free_port(), tmp_path) as running:
            await running.post_all([ping(1), ping(2)])
            await started_one.wait()
            ending = asyncio.create_task(running.stop(signal.SIGTERM))
            await asyncio.sleep(0.3)
            assert not ending.done()
            release.set()
            assert await ending == 0
            assert len(to.at("/t")) == 1

            await running.start()
            await to.received("/t", 2)
            await running.settled(depth("t"), 0)
        assert sorted(delivery.event.id for delivery in to.at("/t")) == ["ping-1", "ping-2"]


async def test_a_full_queue_refuses_and_drops_nothing(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    async with subscriber() as to:
        gate = asyncio.Event()

        async def gated(_: Any) -> int:
            await gate.wait()
            return 202

        open_one = trigger_manifest("open", f"{to.url}/open")
        write_manifests(tmp_path, broker_manifest(), trigger_manifest("t", to.answer("/t", gated)), open_one)
        async with broker(redis_url, free_port(), tmp_path, KNTS_BROKER_QUEUE="5") as running:
            statuses = [await running.post(ping(n)) for n in range(8)]
            assert statuses == [202] * 5 + [503] * 3
            gate.set()
            await running.settled(depth("t"), 0)
            assert await running.post(ping(9)) == 202
            await to.received("/t", 6)
            got = [delivery.event.id for delivery in await to.received("/open", 6)]
        assert sorted(got) == [f"ping-{n}" for n in (0, 1, 2, 3, 4, 9)]  # refused means refused for every Trigger


async def test_redis_out_of_memory_refuses_and_recovers(
    redis: Redis, redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    async with subscriber() as to:
        write_manifests(tmp_path, broker_manifest(), trigger_manifest("t", f"{to.url}/t"))
        async with broker(redis_url, free_port(), tmp_path) as running:
            await redis.config_set("maxmemory", "1")
            try:
                refused = await running.post(ping(1))
            finally:
                await redis.config_set("maxmemory", "0")
            assert refused == 503
            assert await running.post(ping(2)) == 202
            assert [delivery.event.id for delivery in await to.received("/t", 1)] == ["ping-2"]


async def test_killed_redis_keeps_what_was_accepted(free_port: Ports, tmp_path: Path) -> None:
    server = durable_valkey(tmp_path / "data", tmp_path / "log")
    child = started(server)
    try:
        async with subscriber() as to:
            gate = asyncio.Event()

            async def gated(_: Any) -> int:
                await gate.wait()
                return 202

            folder = tmp_path / "m"
            write_manifests(folder, broker_manifest(), trigger_manifest("t", to.answer("/t", gated)))
            async with broker(server.url, free_port(), folder) as running:
                assert await running.post_all([ping(n) for n in range(20)]) == [202] * 20
                await to.received("/t", 20)
                kill(child)
                assert await running.post(ping(99)) == 503
                gate.set()
                await asyncio.sleep(0.2)
                child = started(server)
                await running.settled(depth("t"), 0)
                assert await running.post(ping(100)) == 202
                await to.received("/t", 21)
    finally:
        child.stop()


def kill(child: Child) -> None:
    """kill -9 of a server, and wait for its end."""
    child.popen.kill()
    child.popen.wait()


# -- the script, raced and repeated -----------------------------------------------------------------------------------


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    fresh = Store(redis, cap=100, consumer="one")
    await fresh.start()
    async with fresh.running():
        yield fresh


def entry(number: int, event_type: str = "test.ping") -> Entry:
    return Entry("", ping(number, event_type), "")


A, B, C = (queue_key(f"default/{name}") for name in "abc")


async def test_a_reply_and_its_causes_end_are_one_step(store: Store, redis: Redis) -> None:
    moved = await store.put(entry(1), [A], [True])
    assert moved.taken[0] is not None
    cause = moved.taken[0].id

    raced = await asyncio.gather(
        *(store.finish(A, cause, successor=False, out=entry(2), streams=[B], take=[False]) for _ in range(20))
    )

    assert len([moved for moved in raced if moved is not None]) == 1
    assert await store.depths([A, B]) == [0, 1]
    assert (await redis.xpending(A, "devbroker"))["pending"] == 0


async def test_out_of_memory_leaves_the_cause_where_it_was(store: Store, redis: Redis) -> None:
    moved = await store.put(entry(1), [A], [True])
    assert moved.taken[0] is not None
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Temporary):
            await store.finish(A, moved.taken[0].id, successor=False, out=entry(2), streams=[B], take=[False])
        await store.finish(A, moved.taken[0].id, successor=False)  # an end without a reply needs no memory
    finally:
        await redis.config_set("maxmemory", "0")
    assert await store.depths([A, B]) == [0, 0]


async def test_one_full_stream_refuses_for_all(store: Store) -> None:
    for n in range(100):
        await store.put(entry(n), [B], [False])
    with pytest.raises(QueueFull):
        await store.put(entry(100), [A, B, C], [True, True, True])
    assert await store.depths([A, B, C]) == [0, 100, 0]


async def test_the_oldest_is_taken_first_and_a_successor_with_the_end(store: Store) -> None:
    for n in range(3):
        await store.put(entry(n), [A], [False])
    moved = await store.put(entry(3), [A], [True])
    assert moved.taken[0] is not None
    assert moved.taken[0].event.id == "ping-0"

    after = await store.finish(A, moved.taken[0].id, successor=True)
    assert after is not None
    assert after.successor is not None
    assert after.successor.event.id == "ping-1"
    assert [left.event.id for left in await store.take(A, 10)] == ["ping-2", "ping-3"]


async def test_writes_at_once_all_land_and_each_gets_its_own_answer(store: Store) -> None:
    results = await asyncio.gather(*(store.put(entry(n), [A], [True]) for n in range(50)))
    taken = [moved.taken[0] for moved in results]
    assert [got.event.id for got in taken if got] == [f"ping-{n}" for n in range(50)]
    assert sorted(await store.pending(A)) == sorted(got.id for got in taken if got)


async def test_a_restarted_redis_that_lacks_the_script_is_taught_it(store: Store, redis: Redis) -> None:
    await redis.script_flush()
    await store.put(entry(1), [A], [False])
    assert await store.depths([A]) == [1]


async def test_what_another_broker_left_is_claimed_after_a_while(store: Store, redis: Redis, redis_url: str) -> None:
    async with connected(redis_url) as connection:
        other = Store(connection, cap=10, consumer="two")
        await other.start()
        async with other.running():
            moved = await other.put(entry(1), [A], [True])
    assert moved.taken[0] is not None
    assert await store.claim(A, 60) == []
    assert await store.claim(A, 0) == [moved.taken[0].id]
    assert list(await store.pending(A)) == [moved.taken[0].id]
