"""Thousands of document events, shuffled, doubled, replayed and in conflict, while index-document is killed and paused.

What the index and the records hold in the end is what they would hold had every version come in order. How many events
is KNTS_FAULT_EVENTS, 5,000 by default.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from knts import events
from knts.clients.records import Record, Records
from knts.clients.redis import connected
from knts.events import Event
from tests.faults import state
from tests.faults.conftest import TENANTS
from tests.faults.shuffled import Name, judge, shuffled
from tests.faults.world import World, Worlds

EVENTS = int(os.environ.get("KNTS_FAULT_EVENTS", "5000"))
SENDERS = 32
LONGEST = max(3.0, EVENTS / 2500)  # seconds that it is left in peace: in a long run most of the time is work
KILLS = 3  # at least
CALL = aiohttp.ClientTimeout(total=60, sock_connect=5)


@pytest.mark.timeout(700 + EVENTS / 50)
async def test_shuffled_events_end_as_if_they_had_come_in_order(world: Worlds) -> None:
    async with world() as w:
        sent, counts = shuffled(w.load.chance, EVENTS, TENANTS, w.load.prefix)
        began, torment = time.monotonic(), Torment(w, random.Random(w.load.chance.random()))
        tormenting = asyncio.create_task(torment.go_on())
        answered = await publish(w, sent)
        published = time.monotonic() - began
        torment.over = (
            True  # what waits for another attempt has it in peace: ten failures would make a dead letter of it
        )
        await tormenting
        await w.processes.calm()
        await state.settled(w.processes, 400)
        settled = time.monotonic() - began
        records, chunks = await held(w, sent)
        faults = judge(sent, records, chunks) + await unlike_a_search(w, records)
        letters = await w.given_up()
        faults += [f"a document's event became a dead letter: {kind}" for kind, _ in letters]
        print(
            f"seed {w.seed}: {counts}; {torment.kills} kills and {torment.pauses} pauses of index-document; "
            f"published in {published:.0f} s ({dict(answered)}), settled after {settled:.0f} s; "
            f"{len(letters)} dead letters, {len(faults)} faults"
        )
        assert faults == []
        assert torment.kills >= KILLS
        tell_tale(sent, records, chunks)


@dataclass
class Torment:
    """Kills and pauses index-document at random moments, each time when it is up again, until it is `over`."""

    world: World
    chance: random.Random
    kills: int = 0
    pauses: int = 0
    over: bool = field(default=False)

    async def go_on(self) -> None:
        processes = self.world.processes
        while not self.over or self.kills < KILLS:
            await asyncio.sleep(self.chance.uniform(0.2, LONGEST))
            if self.kills and self.chance.random() < 0.35:
                self.pauses += 1
                await processes.pause("index-document", self.chance.uniform(0.5, 4))
            else:
                self.kills += processes.send("index-document", signal.SIGKILL) is not None
            while not await processes.up("index-document", "/readyz"):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.2)


async def publish(w: World, sent: list[Event]) -> Counter[str]:
    """Send all events to the Broker, in order but many at a time, each until it is accepted; how often it said what."""
    answered: Counter[str] = Counter()
    left = iter(sent)

    async def sender() -> None:
        for event in left:
            headers, body = events.to_http(event)
            while True:
                try:
                    async with w.load.http.post(
                        w.load.road.broker_url, headers=headers, data=body, timeout=CALL
                    ) as response:
                        status = response.status
                except (aiohttp.ClientError, TimeoutError, OSError):
                    status = 0
                answered[str(status or "no answer")] += 1
                if status == 202:
                    break
                assert status in (0, 429, 503), f"the Broker answered {status}"
                await asyncio.sleep(0.3)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return answered


async def held(w: World, sent: list[Event]) -> tuple[dict[Name, Record | None], dict[Name, list[dict[str, Any]]]]:
    """The record and all chunks of every document that was sent."""
    names = sorted({(event.tenant, event.payload["id"]) for event in sent})
    async with connected(w.processes.run["env"]["REDIS_URL"]) as redis:
        records = Records(redis)
        found = {name: await records.get(*name) for name in names}
    url, headers = state.typesense(w.processes)
    chunks: dict[Name, list[dict[str, Any]]] = defaultdict(list)
    tenants = {document_id: tenant for tenant, document_id in names}
    async with w.load.http.get(f"{url}/documents/export", headers=headers) as response:
        assert response.status == 200
        for line in (await response.read()).splitlines():
            chunk = json.loads(line)
            if (document_id := chunk["document_id"]) in tenants:
                chunks[tenants[document_id], document_id].append(chunk)
    return found, dict(chunks)


async def unlike_a_search(w: World, records: dict[Name, Record | None]) -> list[str]:
    """Documents of the first tenant of which a search shows another version than the current one, or none."""
    mine = [(name, record) for name, record in records.items() if name[0] == TENANTS[0] and record]
    faults = []
    for (_, document_id), record in w.load.chance.sample(mine, min(60, len(mine))):
        params = {"q": f'"About {document_id}"'}
        async with w.load.http.get(f"{w.load.road.base_url}/v1/search", params=params) as response:
            hits = (await response.json())["hits"] if response.status == 200 else []
        seen = {hit["version"] for hit in hits if hit["document_id"] == document_id}
        if seen != ({record.indexed} if record.indexed else set()):
            faults.append(f"{document_id}: a search shows {seen}, the record says {record.indexed}")
    return faults


def tell_tale(sent: list[Event], records: dict[Name, Record | None], chunks: dict[Name, list[dict[str, Any]]]) -> None:
    """The judge tells what it should: a change that was lost, a chunk that was, one too many, and another text."""
    name, several = next((name, several) for name, several in chunks.items() if several)
    higher = events.new_event(events.DOCUMENT_DELETED, "/faults", {"id": name[1], "version": 10_000}, tenant=name[0])
    older = {**several[0], "version": 0}
    other = {**several[0], "text": "x"}
    planted = [
        judge([*sent, higher], records, chunks),
        judge(sent, records, {**chunks, name: several[1:]}),
        judge(sent, records, {**chunks, name: [*several, older]}),
        judge(sent, records, {**chunks, name: [other, *several[1:]]}),
        judge(sent, {**records, name: None}, chunks),
    ]
    assert [len(faults) for faults in planted] == [1] * len(planted)
