"""The one connection over which the broker writes to Redis, batch after batch."""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from knts.clients.redis import Redis, failures


class Writer:
    """Sends writes in batches: what arrives while one is under way goes with the next, and shares its fsync."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._arrived = asyncio.Event()

    async def write(self, *command: Any) -> Any:
        """The reply to one command. Raises Temporary when Redis is not available, its own error otherwise."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        self._arrived.set()
        with failures("the broker's Redis"):
            return await future

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                await self._send(batch)

    async def _send(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        replies: Sequence[Any]
        try:
            replies = await self._exchange([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, each of those who wait must hear of it
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue  # it was cancelled
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to commands sent at once; an error that Redis answers with stands among them.

        By hand and not by redis-py's pipeline, which costs twice the processor time of it.
        """
        pool = self.redis.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command([hiredis.pack_command(command) for command in commands])
            return [await self._reply(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)  # replies still under way must not be taken for others
            raise
        finally:
            await pool.release(connection)

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            return error
