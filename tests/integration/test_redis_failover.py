"""A replica of Redis is promoted behind one address: who is left by whom, and what that costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knts.clients import redis as client
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import connected, failures
from knts.clients.tailer import Tailer
from knts.devbroker.entries import Entry, queue_key
from knts.devbroker.store import Store
from knts.errors import Temporary
from tests.integration.broker_world import (
    broker,
    broker_manifest,
    depth,
    eventually,
    ping,
    subscriber,
    trigger_manifest,
    write_manifests,
)
from tests.replicas import Pair, pair

PATIENT = {"retry": 200, "backoffPolicy": "linear", "backoffDelay": "PT0.01S", "timeout": "PT5S"}


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    async with pair(tmp_path) as made:
        yield made


async def demoted(both: Pair) -> None:
    """The replica is promoted, the primary follows it, and connections stay where they are."""
    await both.fail_over(cut_off=False)
    await both.primary.execute_command("REPLICAOF", "127.0.0.1", str(both.second.port))


class TestConnections:
    async def test_one_refused_write_is_enough_to_leave_a_demoted_server(self, both: Pair) -> None:
        async with connected(both.url) as redis:
            await asyncio.gather(*(redis.set(f"before:{n}", n) for n in range(10)))
            await demoted(both)
            with pytest.raises(Temporary, match="read only"), failures():
                await redis.set("refused", 1)
            assert await asyncio.gather(*(redis.set(f"after:{n}", n) for n in range(10))) == [True] * 10
            assert await both.replica.get("after:9") == b"9"
            assert await redis.get("refused") is None

    async def test_a_connection_in_use_meanwhile_is_left_after_its_command(self, both: Pair) -> None:
        async with connected(both.url) as redis:
            await asyncio.gather(*(redis.set(f"before:{n}", n) for n in range(2)))
            pool = redis.connection_pool
            busy = await pool.get_connection()
            await demoted(both)
            with pytest.raises(Temporary), failures():
                await redis.set("refused", 1)
            await pool.release(busy)
            assert not busy.is_connected
            assert await asyncio.gather(*(redis.set(f"after:{n}", n) for n in range(4))) == [True] * 4

    async def test_a_command_that_waits_at_a_server_that_is_demoted_is_temporary(self, both: Pair) -> None:
        async with connected(both.url) as redis:

            async def wait() -> None:
                with pytest.raises(Temporary, match="UNBLOCKED"), failures():
                    await redis.xread({"nothing": "$"}, block=4000)

            waiting = asyncio.create_task(wait())
            await eventually(lambda: blocked(both.primary))
            await demoted(both)
            await waiting
            assert await redis.set("after", 1)

    async def test_a_script_is_refused_likewise_and_goes_on_likewise(self, both: Pair) -> None:
        async with connected(both.url) as redis:
            records = Records(redis)
            assert await records.assign("t", "d") == 1
            await both.in_step()
            await demoted(both)
            with pytest.raises(Temporary):
                await records.assign("t", "d")
            assert await records.assign("t", "d") == 2

    async def test_whoever_only_listens_leaves_too(self, both: Pair) -> None:
        async with connected(both.url) as redis, Tailer(redis, sweep=3600).running() as tailer:
            channel = Channel(redis)
            await channel.open("a", {"id": "a"}, tenant="t", owner="o")
            reading = asyncio.create_task(types_until(tailer, "passages"))
            await eventually(lambda: subscribers(both.primary))
            await both.in_step()
            await demoted(both)
            with pytest.raises(Temporary):
                await channel.append("a", "passages", {})
            await eventually(lambda: subscribers(both.replica))
            await channel.append("a", "passages", {})
            assert await reading == ["queued", "passages"]


async def types_until(tailer: Tailer, last: str) -> list[str]:
    """The types of an ask's frames until one of that type."""
    follower, found = tailer.follower(), list[str]()
    follower.follow("knts:frames:a", "0")
    async with asyncio.timeout(20):
        while last not in found:
            found += [frame.type for _, frame in await follower.read(5)]
    return found


async def blocked(redis: Any) -> bool:
    return (await redis.info("clients"))["blocked_clients"] == 1


async def subscribers(redis: Any) -> bool:
    return bool(dict(await redis.pubsub_numsub("knts:frames:a"))[b"knts:frames:a"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [("min-replicas-to-write", "2", "NOREPLICAS"), ("maxmemory", "1", "used memory")],
    )
    async def test_a_server_that_takes_no_writes_is_temporary_and_read_from(
        self, both: Pair, name: str, value: str, reason: str
    ) -> None:
        async with connected(both.url) as redis:
            records = Records(redis)
            await records.assign("t", "d")
            await both.primary.config_set(name, value)
            with pytest.raises(Temporary, match=reason):
                await records.assign("t", "d")
            record = await records.get("t", "d")
            await both.primary.config_set(name, "0")
            assert record is not None
            assert record.version == 1
            assert await records.assign("t", "d") == 2


class TestReplicas:
    """With KNTS_REDIS_REPLICAS nothing is acknowledged that a replica lacks."""

    async def test_a_record_is_on_the_replica_when_the_call_returns(self, both: Pair) -> None:
        async with connected(both.url) as redis, connected(both.second.url) as there:
            records, copy = Records(redis, replicas=1), Records(there)
            for number in range(1, 20):
                assert await records.claim("t", "d", number, "h") == "claimed"
                assert await records.raise_to("t", "d", number, "h", status="indexed") in ("first", "raised")
                assert await copy.current("t", ["d"]) == {"d": number}
            await records.replace_token("t")
            assert await there.get("knts:token:t") == await redis.get("knts:token:t") is not None

    async def test_without_its_replica_a_write_is_temporary(self, both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "REPLICAS_MS", 100)
        async with connected(both.url) as redis:
            records = Records(redis, replicas=1)
            await both.lag()
            for call in (records.claim("t", "d", 1, "h"), records.replace_token("t"), records.assign("t", "d")):
                with pytest.raises(Temporary, match="0 of 1 replicas"):
                    await call
            assert await records.get("t", "d") is not None  # reading asks nobody

    async def test_only_what_is_put_waits_for_the_replicas_of_a_queue(self, both: Pair) -> None:
        async with connected(both.url) as redis:
            store = Store(redis, cap=10, consumer="c", replicas=1)
            await store.start()
            async with store.running():
                put = await store.put(Entry("", ping(1), ""), [queue_key("default/t")], [True])
                await both.lag()
                later = asyncio.create_task(store.put(Entry("", ping(2), ""), [queue_key("default/t")], [False]))
                [taken] = put.taken
                assert taken is not None
                assert await store.finish(queue_key("default/t"), taken.id, successor=False) is not None
                with pytest.raises(Temporary, match="0 of 1 replicas"):
                    await later


class Publisher:
    """Publishes pings one after the other, and notes which were accepted when."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.accepted: dict[str, float] = {}
        self.refused = 0
        self.stopping = False

    async def work(self, broker_post: Any, first: int) -> None:
        number = first
        while not self.stopping:
            number += 1
            began = time.monotonic()
            try:
                status = await broker_post(ping(number))
            except aiohttp.ClientError:
                status = 0
            if status == 202:
                self.accepted[f"ping-{number}"] = began
            else:
                assert status in (0, 503)
                self.refused += 1
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("replicas", [0, 1])
async def test_a_failover_loses_at_most_what_the_replica_lacked_and_nothing_with_wait(
    both: Pair, replicas: int, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Nothing is delivered before the failover, so what the promoted replica lacks is lost."""
    through = asyncio.Event()

    async def taken_afterwards(_: Any) -> tuple[int, dict[str, str], bytes]:
        return (202 if through.is_set() else 503), {}, b""

    async with subscriber() as to:
        manifest = trigger_manifest("t", to.answer("/t", taken_afterwards), delivery=PATIENT)
        write_manifests(tmp_path / "m", broker_manifest(), manifest)
        env = {"KNTS_REDIS_REPLICAS": str(replicas)}
        async with broker(both.url, free_port(), tmp_path / "m", **env) as running:
            publisher = Publisher(running.url)
            working = [asyncio.create_task(publisher.work(running.post, start)) for start in (0, 10_000, 20_000)]
            await eventually(lambda: len(publisher.accepted) > 50)
            lagging = time.monotonic()
            await both.lag()
            await asyncio.sleep(1)
            await both.kill_primary()
            await both.fail_over()
            await both.rejoin()
            before = len(publisher.accepted)
            await eventually(lambda: len(publisher.accepted) > before + 50, 20)
            publisher.stopping = True
            await asyncio.gather(*working)
            through.set()
            await running.settled(depth("t"), 0, 60)
    delivered = {delivery.event.id for delivery in to.got}
    lost = publisher.accepted.keys() - delivered
    print(f"{replicas} replicas: {len(publisher.accepted)} accepted, {len(lost)} lost, {publisher.refused} refused")
    assert all(publisher.accepted[each] > lagging - 0.1 for each in lost)
    assert bool(lost) == (replicas == 0)


async def test_what_reappears_as_pending_after_a_failover_is_delivered_again(
    both: Pair, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """An event was delivered and removed; the promoted replica has heard of the first delivery's beginning only."""
    async with subscriber() as to:
        held = asyncio.Event()

        async def hold(_: Any) -> int:
            await held.wait()
            return 202

        write_manifests(tmp_path / "m", broker_manifest(), trigger_manifest("t", to.answer("/t", hold, 202)))
        async with broker(both.url, free_port(), tmp_path / "m") as running:
            assert await running.post(ping(1)) == 202
            await to.received("/t", 1)
            await both.in_step()
            await both.lag()
            held.set()
            await running.settled(depth("t"), 0)
            await both.fail_over()
            await to.received("/t", 2)
            await running.settled(depth("t"), 0)
    assert [delivery.event.id for delivery in to.got] == ["ping-1", "ping-1"]
