"""What a run holds when all is quiet: records, chunks, dead letters, and whether its queues are empty."""

import asyncio
import json
import time
from collections import defaultdict
from urllib.parse import quote

from knts.clients.dead_letters import DeadLetters
from knts.clients.redis import connected
from tests.faults.load import Load
from tests.faults.oracles import Found, in_order
from tests.faults.processes import Processes

QUEUES = "knts:broker:*"
OUTSIDE_KEY = "the-key-of-a-typesense-that-a-test-has-started"


async def settled(processes: Processes, seconds: float = 120) -> float:
    """Wait until the Broker has nothing more to deliver; how long that took. Raises TimeoutError."""
    began = time.monotonic()
    async with connected(processes.run["env"]["REDIS_URL"]) as redis, asyncio.timeout(seconds):
        while True:
            streams = [key async for key in redis.scan_iter(QUEUES, _type="stream")]
            if not sum([await redis.xlen(key) for key in streams]):
                return time.monotonic() - began
            await asyncio.sleep(0.3)


async def letters(processes: Processes) -> dict[str, tuple[str, str]]:
    """The dead letters' types and correlation ids, by letter."""
    async with connected(processes.run["env"]["REDIS_URL"]) as redis:
        found, _ = await DeadLetters(redis).listing(limit=10_000)
    return {letter.id: (letter.event.type, letter.event.attributes.get("correlationid", "")) for letter in found}


async def found(load: Load, processes: Processes) -> dict[str, Found]:
    """What became of every document that the load has changed."""
    chunks = await exported(load, processes)
    return {
        document_id: await _found(load, document_id, chunks[document_id]) for document_id in in_order(load.accepted)
    }


async def _found(load: Load, document_id: str, chunks: list[tuple[int, int]]) -> Found:
    url = f"{load.road.base_url}/v1/documents/{quote(document_id, safe='')}"
    async with load.http.get(url, params={"include": "text"}) as response:
        record = await response.json() if response.status == 200 else None
    async with load.http.get(f"{load.road.base_url}/v1/search", params={"q": document_id}) as response:
        hits = (await response.json())["hits"] if response.status == 200 else []
    return Found(record, chunks, any(hit["document_id"] == document_id for hit in hits))


async def exported(load: Load, processes: Processes) -> dict[str, list[tuple[int, int]]]:
    """Version and number of every chunk in Typesense by document."""
    url, headers = typesense(processes)
    chunks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    async with load.http.get(f"{url}/documents/export", headers=headers) as response:
        assert response.status == 200, await response.text()
        for line in (await response.text()).splitlines():
            chunk = json.loads(line)
            chunks[chunk["document_id"]].append((chunk["version"], chunk["chunk"]))
    return chunks


def typesense(processes: Processes) -> tuple[str, dict[str, str]]:
    """The collection's address and the header that opens it."""
    assert processes.road.home is not None
    kept = processes.road.home / "secrets" / "typesense-key"  # where the run has a Typesense of its own
    key = kept.read_text().strip() if kept.exists() else OUTSIDE_KEY
    return f"{processes.run['env']['TYPESENSE_URL']}/collections/knts_chunks", {"X-TYPESENSE-API-KEY": key}
