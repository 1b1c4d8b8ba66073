"""`python -m bench.broker`: events through the development broker, beside the least code that does the same.

An event goes in, is durable, is delivered, and its reply is stored: the time is from the POST until the reply stands
in its stream. Both run on one Valkey that syncs every write to disk, with the same subscriber, in turn.
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import orjson
import uvloop
import yaml

from bench.broker_floor import REPLIES
from bench.measure import Sample, closed_loop, machine, table
from knts import events
from knts.clients.redis import Redis, connected
from knts.devbroker.entries import queue_key
from knts.local.process import free_port
from knts.local.servers import durable_valkey, started

ROUNDS = 3
LOADS = {1: 300, 16: 2500}  # events by how many at once
DATA = {"n": 0, "text": "To be, or not to be, that is the question. " * 46}
PATH = "/default/bench"


def manifests(target: str) -> list[dict[str, object]]:
    """One Trigger that is answered, and one that keeps the replies: its only slot is held for ever."""

    def trigger(name: str, wanted: str, uri: str, parallelism: int) -> dict[str, object]:
        annotations = {"devbroker.kn-ts.dev/parallelism": str(parallelism)}
        spec = {"broker": "bench", "filters": [{"exact": {"type": wanted}}], "subscriber": {"uri": uri}}
        metadata = {"name": name, "annotations": annotations}
        return {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": metadata, "spec": spec}

    head: dict[str, object] = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "bench"}}
    return [head, trigger("ping", "bench.ping", target, 50), trigger("kept", "bench.pong", f"{target}/hang", 1)]


class Replies:
    """Follows a stream and wakes whoever waits for the reply to his event."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self.redis = redis
        self.stream = stream
        self.waiting: dict[str, asyncio.Future[None]] = {}

    def expect(self, event_id: str) -> "asyncio.Future[None]":
        self.waiting[event_id] = asyncio.get_running_loop().create_future()
        return self.waiting[event_id]

    async def follow(self, last: bytes) -> None:
        while True:
            for _, entries in await self.redis.xread({self.stream: last}, block=2000):
                for last, fields in entries:  # noqa: B007 - the last one's id is where to go on
                    cause = orjson.loads(fields[b"attributes"])["causationid"]
                    if found := self.waiting.pop(cause, None):
                        found.set_result(None)

    async def newest(self) -> bytes:
        newest = await self.redis.xrevrange(self.stream, count=1)
        return bytes(newest[0][0]) if newest else b"0"


@contextlib.asynccontextmanager
async def running(url: str, *args: str, **env: str) -> AsyncIterator[None]:
    """A process of `python -m …`, ready, killed at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *args, env={**os.environ, **env})
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    await http.get(f"{url}/readyz")
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def measured(address: str, redis: Redis, stream: str, at_once: int, label: str) -> Sample:
    """One closed loop of events to `address`, each done when its reply stands in `stream`."""
    replies = Replies(redis, stream)
    following = asyncio.create_task(replies.follow(await replies.newest()))
    body = orjson.dumps(DATA)
    async with aiohttp.ClientSession() as http:

        async def one(number: int) -> None:
            event = events.new_event("bench.ping", "/bench", None, id=f"{label}-{number}")
            stored = replies.expect(event.id)
            headers, _ = events.to_http(event)
            async with http.post(address, data=body, headers=headers) as response:
                assert response.status == 202, response.status
            await asyncio.wait_for(stored, 30)

        await closed_loop(lambda number: one(-1 - number), calls=100, at_once=at_once)  # warm up
        sample = await closed_loop(one, calls=LOADS[at_once], at_once=at_once)
    following.cancel()
    return sample


async def compare(folder: Path) -> list[list[object]]:
    """The table's rows."""
    valkey = durable_valkey(folder / "data", folder / "log")
    child = started(valkey)
    sub, floor, ours = free_port(), free_port(), free_port()
    target = f"http://127.0.0.1:{sub}"
    (folder / "m.yaml").write_text(yaml.safe_dump_all(manifests(target)))
    env = {
        "REDIS_URL": valkey.url,
        "TARGET": target,
        "KNTS_BROKER_PORT": str(ours),
        "KNTS_MANIFESTS": str(folder / "m.yaml"),
        "KNTS_SUBSCRIBERS": json.dumps({}),
        "KNTS_BROKER_QUEUE": "1000000",
        "LOG_LEVEL": "WARNING",
    }
    samples: dict[tuple[str, int], list[Sample]] = {}
    try:
        async with (
            connected(valkey.url) as redis,
            running(target, "bench.broker_floor", "subscriber", str(sub), **env),
            running(f"http://127.0.0.1:{floor}", "bench.broker_floor", "broker", str(floor), **env),
            running(f"http://127.0.0.1:{ours}", "knts.devbroker", **env),
        ):
            for turn in range(ROUNDS):
                for at_once in LOADS:
                    for name, port, stream in (("floor", floor, REPLIES), ("ours", ours, queue_key("default/kept"))):
                        address = f"http://127.0.0.1:{port}{PATH}"
                        sample = await measured(address, redis, stream, at_once, f"{turn}-{at_once}-{name}")
                        samples.setdefault((name, at_once), []).append(sample)
    finally:
        child.stop()
    return rows(samples)


def rows(samples: dict[tuple[str, int], list[Sample]]) -> list[list[object]]:
    """Medians of the rounds, ours beside the floor."""

    def median(name: str, at_once: int, value: str) -> float:
        of: dict[str, Callable[[Sample], float]] = {
            "p50": lambda sample: sample.percentile(0.5),
            "p95": lambda sample: sample.percentile(0.95),
            "rate": lambda sample: sample.rate,
        }
        return statistics.median(map(of[value], samples[name, at_once]))

    found: list[list[object]] = []
    for at_once in LOADS:
        for value, unit in (("p50", "ms"), ("p95", "ms"), ("rate", "events/s")):
            ours, floor = median("ours", at_once, value), median("floor", at_once, value)
            found.append([f"{at_once} at a time", f"{value}, {unit}", floor, ours, ours / floor])
    return found


def main() -> None:
    """Print the table."""
    print(f"{machine()}; an event of {len(orjson.dumps(DATA))} bytes; every write synced; medians of {ROUNDS} rounds\n")
    with tempfile.TemporaryDirectory(prefix="knts-bench-") as folder:
        print(table(["load", "what", "floor", "broker", "ratio"], uvloop.run(compare(Path(folder)))))


if __name__ == "__main__":
    main()
