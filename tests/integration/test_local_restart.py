"""What was indexed is there after Typesense has been stopped and started, though it replays its log in parallel."""

from pathlib import Path

import pytest

from knts.clients.redis import Redis
from knts.local.servers import Typesense, started
from knts.settings import TypesenseServer
from tests.integration.indexing import opened, upserted


@pytest.mark.timeout(180)
async def test_a_restarted_typesense_has_every_chunk(redis: Redis, tmp_path: Path) -> None:
    server = Typesense(tmp_path / "data", tmp_path / "log", "a-key-of-the-test")
    settings = TypesenseServer(url=server.url, api_key=server.api_key)
    child = started(server)
    try:
        async with opened(redis, settings) as parts:
            for number in range(8):
                await parts.deliver(upserted(f"d{number}", 1))
                await parts.deliver(upserted(f"d{number}", 2))
        for _ in range(2):
            child.stop()
            child = started(server)
            async with opened(redis, settings) as parts:
                versions = [[chunk["version"] for chunk in await parts.stored(f"d{number}")] for number in range(8)]
            assert versions == [[2]] * 8
    finally:
        child.stop()
