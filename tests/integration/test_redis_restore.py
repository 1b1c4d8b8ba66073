"""The restore of the durable Redis as docs/operations.md tells it, step by step on real servers."""

import shutil
import time
from pathlib import Path

import redis as redis_py

from knts.local.servers import Valkey, durable_valkey, started


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
