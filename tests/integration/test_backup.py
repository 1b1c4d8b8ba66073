"""Backup and restore as docs/operations.md tells them, step by step on real servers."""

import shutil
import time
from pathlib import Path

import redis as redis_py

from knts.clients.rebuild import rebuild
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.typesense import Typesense as Client
from knts.local.servers import Typesense, Valkey, durable_valkey, started
from knts.settings import TypesenseServer
from tests.integration.indexing import opened, upserted


def test_a_copy_of_redis_is_ignored_by_a_server_with_an_append_only_file_unless_it_was_turned_into_one(
    tmp_path: Path,
) -> None:
    first = durable_valkey(tmp_path / "first", tmp_path / "log")
    child = started(first)
    with redis_py.Redis.from_url(first.url) as client:
        client.hset("knts:doc:t:leave", "version", 3)
        client.save()
    child.stop()
    copy = tmp_path / "first" / "dump.rdb"

    naive = durable_valkey(tmp_path / "naive", tmp_path / "naive.log")
    naive.folder.mkdir()
    shutil.copy(copy, naive.folder)
    child = started(naive)
    with redis_py.Redis.from_url(naive.url) as client:
        assert client.dbsize() == 0
    child.stop()

    folder = tmp_path / "restored"
    folder.mkdir()
    shutil.copy(copy, folder)
    child = started(turning := Valkey("redis", folder, tmp_path / "turning.log", ("--appendonly", "no")))
    with redis_py.Redis.from_url(turning.url) as client:
        client.config_set("appendonly", "yes")
        deadline = time.monotonic() + 60
        while any(client.info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        client.shutdown()
    child.stop()
    (folder / "dump.rdb").unlink()

    child = started(restored := durable_valkey(folder, tmp_path / "restored.log"))
    with redis_py.Redis.from_url(restored.url) as client:
        assert client.hgetall("knts:doc:t:leave") == {b"version": b"3"}
    child.stop()


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

        restored = Typesense(tmp_path / "snapshots" / "2", tmp_path / "restored.log", "key")
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
