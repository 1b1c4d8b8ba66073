"""A durable Redis that is full, or reads its data after a start: what is answered meanwhile, and that it passes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from knts.clients.channel import Channel
from knts.clients.dead_letters import DeadLetters
from knts.clients.flights import Flights
from knts.clients.records import Records
from knts.clients.redis import Redis, connected
from knts.errors import Temporary
from knts.local.process import Child
from knts.local.servers import Valkey, durable_valkey, started
from tests.integration.broker_world import (
    broker,
    broker_manifest,
    depth,
    ping,
    replying,
    subscriber,
    trigger_manifest,
    write_manifests,
)


@dataclass
class Server:
    """A Valkey of the test's own."""

    valkey: Valkey
    child: Child
    redis: Redis

    async def fill(self) -> None:
        """No memory is left for writes."""
        await self.redis.config_set("maxmemory", "1")

    async def drain(self) -> None:
        await self.redis.config_set("maxmemory", "0")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    valkey = durable_valkey(tmp_path / "data", tmp_path / "log")
    made = Server(valkey, started(valkey), None)  # type: ignore[arg-type]
    try:
        async with connected(valkey.url) as made.redis:
            yield made
    finally:
        made.child.stop()


WRITES: dict[str, Callable[[Redis], Any]] = {  # what each function does first with an event or a request
    "ingress opens an ask": lambda redis: Channel(redis).open("b", {"id": "b"}, tenant="t", owner="o"),
    "ingress assigns a version": lambda redis: Records(redis).assign("t", "d"),
    "index-document claims a version": lambda redis: Records(redis).claim("t", "e", 1, "h"),
    "index-document replaces the token": lambda redis: Records(redis).replace_token("t"),
    "search appends a result": lambda redis: Channel(redis).append("a", "result", {}),
    "llm-answer joins a flight": lambda redis: Flights(redis).join("key", "a"),
    "dead-letter keeps a letter": lambda redis: DeadLetters(redis).store(ping(1)),
}


@pytest.mark.parametrize("what", WRITES)
async def test_a_full_server_is_temporary_for_every_function_and_passes(server: Server, what: str) -> None:
    await Channel(server.redis).open("a", {"id": "a"}, tenant="t", owner="o")
    await server.fill()
    with pytest.raises(Temporary, match="maxmemory") as raised:
        await WRITES[what](server.redis)
    assert raised.value.retry_after
    assert (await Channel(server.redis).ask("a") or {})["tenant"] == "t"  # reading goes on
    await server.drain()
    await WRITES[what](server.redis)


async def test_a_broker_whose_redis_is_full_accepts_nothing_and_loses_nothing(
    server: Server, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """What was accepted before is delivered; a reply, which needs room, is kept until there is some."""
    async with subscriber() as to:
        through = asyncio.Event()

        async def later(delivery: Any) -> Any:
            await through.wait()
            return await replying("test.pong", {})(delivery)

        manifests = [
            trigger_manifest("t", to.answer("/t", later)),
            trigger_manifest("pongs", to.answer("/pongs", 202), filters=[{"exact": {"type": "test.pong"}}]),
        ]
        write_manifests(tmp_path / "m", broker_manifest(), *manifests)
        async with broker(server.valkey.url, free_port(), tmp_path / "m") as running:
            assert await running.post_all([ping(number) for number in range(5)]) == [202] * 5
            await to.received("/t", 5)
            await server.fill()
            assert await running.post(ping(5)) == 503
            through.set()
            assert await running.post(ping(6)) == 503
            assert to.at("/pongs") == []
            await server.drain()
            await to.received("/pongs", 5)
            assert await running.post(ping(7)) == 202
            await to.received("/pongs", 6)
            for trigger in ("t", "pongs"):
                await running.settled(depth(trigger), 0)
    assert {delivery.event.id for delivery in to.at("/t")} == {f"ping-{number}" for number in (0, 1, 2, 3, 4, 7)}


async def test_a_server_that_still_reads_its_data_is_temporary(server: Server) -> None:
    async with server.redis.pipeline(transaction=False) as pipeline:
        for number in range(4000):
            pipeline.set(f"filling:{number}", number)
        await pipeline.execute()
    await asyncio.to_thread(server.child.stop)
    server.valkey.options = (*server.valkey.options, "--key-load-delay", "1000")  # microseconds
    server.child = server.valkey.start()
    records, told = Records(server.redis), list[str]()
    async with asyncio.timeout(60):
        while True:
            try:
                assert await records.assign("t", "d") == 1
                break
            except Temporary as error:
                told.append(error.detail)
                await asyncio.sleep(0.05)
    assert any("loading" in each for each in told)
