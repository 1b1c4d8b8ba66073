"""A restore of Typesense as docs/operations.md tells it, on real servers. Typesense takes long to start from a copy."""

from dataclasses import replace
from pathlib import Path

from knts.clients.rebuild import rebuild
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.typesense import Typesense as Client
from knts.local.servers import Typesense, started
from knts.settings import TypesenseServer
from tests.integration.indexing import opened, upserted


async def test_a_snapshot_of_typesense_is_the_data_of_an_empty_one_and_the_records_are_rebuilt_from_it(
    tmp_path: Path, redis_url: str
) -> None:
    first = Typesense(tmp_path / "data", tmp_path / "log", "key")
    child = started(first)
    server = TypesenseServer(url=first.url, api_key="key")
    async with connected(redis_url) as redis, opened(redis, server) as parts:
        await parts.deliver(upserted("leave", 3, "Everybody has thirty days of leave."))
        where = {"snapshot_path": str(tmp_path / "snapshots" / "2")}
        reply = await parts.chunks.typesense.call("POST", "/operations/snapshot", params=where, timeout=60)
        assert b"true" in reply
        await parts.deliver(upserted("late", 1, "What came after the copy."))
        child.stop()
        await redis.flushall()

        restored = replace(first, folder=tmp_path / "snapshots" / "2")
        child = started(restored)
        again = TypesenseServer(url=restored.url, api_key="key")
        async with opened(redis, again) as parts:
            assert await parts.found("thirty") == ["leave"]
            assert await parts.found("after") == []
        async with Client(again) as typesense:
            assert await rebuild(typesense, Records(redis)) == 1
        found = await Records(redis).get("t", "leave")
        assert found is not None
        assert found.version == 3
        child.stop()
