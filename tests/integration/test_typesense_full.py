"""A Typesense whose disk is full, or that is read-only: writes wait, searches go on, and it passes by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from functions.search.query import parse
from functions.search.retrieval import Wanted, find
from knts.clients.redis import Redis
from knts.errors import IndexUnavailable
from knts.local.process import Child
from knts.local.servers import Typesense, started
from knts.lookup import Scope
from knts.settings import TypesenseServer
from tests.integration.indexing import Parts, deleted, opened, upserted
from tests.searching import NothingRemembered

FULL = ("--disk-used-max-percentage", "1")


@dataclass
class Engine:
    """A Typesense of the test's own, which can be started again with other options."""

    process: Typesense
    child: Child

    async def restart(self, *options: str) -> None:
        """With its data. A full disk is looked at some time after the start."""
        await asyncio.to_thread(self.child.stop)
        self.process.options = options
        self.child = started(self.process)

    @property
    def server(self) -> TypesenseServer:
        return TypesenseServer(url=self.process.url, api_key=self.process.api_key)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    process = Typesense(tmp_path / "data", tmp_path / "log", "key")
    running = Engine(process, started(process))
    yield running
    running.child.stop()


async def found(parts: Parts, query: str) -> list[tuple[str, int]]:
    """What the search function finds of a tenant's documents."""
    index = NothingRemembered(parts.chunks.typesense, parts.records.indexed)
    page = await find(index, parts.records, Scope("t"), parse(query), Wanted())
    return sorted((hit.chunk.document_id, hit.chunk.version) for hit in page.hits)


async def refusing(parts: Parts) -> None:
    """Return when it has noticed that its disk is full."""
    with contextlib.suppress(IndexUnavailable):
        async with asyncio.timeout(60):
            alias = {"collection_name": "none"}
            while await parts.chunks.typesense.request("PUT", "/aliases/probe", json=alias):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_a_full_disk_makes_changes_wait_while_searches_go_on(
    engine: Engine, redis: Redis, tmp_path: Path
) -> None:
    later = [upserted("d", 2, "two lanterns"), upserted("f", 1, "new lanterns")]
    async with opened(redis, engine.server) as parts:
        await parts.deliver(upserted("d", 1, "one lantern"))
        await parts.deliver(upserted("e", 1, "another lantern"))
        copy = {"snapshot_path": f"{tmp_path}/copy"}  # a start after it needs no log
        await parts.chunks.typesense.request("POST", "/operations/snapshot", params=copy)
        await engine.restart(*FULL)
    async with opened(redis, engine.server) as parts:
        assert await found(parts, "lantern") == [("d", 1), ("e", 1)]
        await refusing(parts)
        await parts.chunks.typesense.ready()  # or platforms would take search away, too
        for event in later:
            with pytest.raises(IndexUnavailable, match="takes no writes now: Rejecting write") as raised:
                await parts.deliver(event)
            assert raised.value.retry_after == 5
        assert [record.status for record in (await parts.records.listing("t", []))[0]] == [
            "pending",
            "indexed",
            "pending",
        ]
        assert await parts.deliver(deleted("e", 2)) is not None  # a deletion makes room, and is taken
        assert await found(parts, "lantern") == [("d", 1)]
        await engine.restart()
    async with opened(redis, engine.server) as parts:
        replies = [await parts.deliver(event) for event in later]
        assert None not in replies
        assert await found(parts, "lanterns") == [("d", 2), ("f", 1)]
        assert await parts.stored("e") == []


async def test_a_start_with_a_full_disk_before_any_snapshot_is_no_empty_index(engine: Engine, redis: Redis) -> None:
    """Typesense 0.24.1 does not read its log of writes then, and says that the collection does not exist."""
    async with opened(redis, engine.server) as parts:
        await parts.deliver(upserted("d", 1, "one lantern"))
        await engine.restart(*FULL)
    async with opened(redis, engine.server) as parts:
        with pytest.raises(IndexUnavailable, match="does not have the documents"):
            await found(parts, "lantern")
        await engine.restart()
    async with opened(redis, engine.server) as parts:
        assert await found(parts, "lantern") == [("d", 1)]
