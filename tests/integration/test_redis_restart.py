"""What a client of Redis sees when the server is killed and comes back."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from knts.clients.redis import connected, failures
from knts.errors import Temporary
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


def test_a_connection_that_breaks_while_it_is_written_to_is_temporary_on_uvloop_too(durable_server: str) -> None:
    """Functions run on uvloop, whose transports answer otherwise than asyncio's once they are closed."""

    async def write() -> None:
        async with connected(durable_server) as client:
            connection = await client.connection_pool.get_connection()
            connection._writer.transport.abort()
            with pytest.raises(Temporary, match="closed"), failures():
                await connection.send_command("PING")
            await client.connection_pool.release(connection)
            assert await client.ping()

    uvloop.run(write())
