"""What a client of Redis sees when the server is killed and comes back."""

import asyncio
from pathlib import Path

from knts.clients.redis import connected
from knts.local.servers import durable_valkey, started


async def test_connections_that_a_restart_has_closed_are_replaced_before_they_are_used(tmp_path: Path) -> None:
    server = durable_valkey(tmp_path / "data", tmp_path / "log")
    child = started(server)
    try:
        async with connected(server.url) as client:
            await asyncio.gather(*(client.set(f"before:{n}", n) for n in range(10)))
            child.popen.kill()
            child.popen.wait()
            await asyncio.sleep(0.1)  # the loop hears that ten connections are closed
            child = started(server)
            assert await asyncio.gather(*(client.set(f"after:{n}", n) for n in range(10))) == [True] * 10
            assert await client.dbsize() == 20
    finally:
        child.stop()
