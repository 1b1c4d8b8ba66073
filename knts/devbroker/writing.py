"""The one connection over which the broker writes to Redis, batch after batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from knts.clients.redis import REPLICAS_MS, Redis, check_replicas, failures
from knts.errors import Temporary


@dataclass(frozen=True)
class Write:
    """A command that waits for its turn; `safe` ones are answered when they are on the replicas too."""

    command: tuple[Any, ...]
    safe: bool
    answered: asyncio.Future[Any]


class Writer:
    """Sends writes in batches: what arrives while one is under way goes with the next, and shares its fsync.

    `replicas` of Redis must have a safe write before it is answered; a batch shares the waiting for them, too.
    """

    def __init__(self, redis: Redis, replicas: int = 0) -> None:
        self.redis = redis
        self.replicas = replicas
        self._waiting: list[Write] = []
        self._arrived = asyncio.Event()

    async def write(self, *command: Any, safe: bool = False) -> Any:
        """The reply to one command. Raises Temporary when Redis is not available, its own error otherwise.

        Of a `safe` command also when too few replicas have confirmed it; then it was run all the same.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Write(command, safe and self.replicas > 0, future))
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

    async def _send(self, batch: list[Write]) -> None:
        replies: Sequence[Any]
        try:
            replies = await self._answers(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, each of those who wait must hear of it
            replies = [error] * len(batch)
        for write, reply in zip(batch, replies, strict=True):
            if write.answered.done():
                continue  # it was cancelled
            if isinstance(reply, Exception):
                write.answered.set_exception(reply)
            else:
                write.answered.set_result(reply)

    async def _answers(self, batch: list[Write]) -> list[Any]:
        commands = [write.command for write in batch]
        if not any(write.safe for write in batch):
            return await self._exchange(commands)
        *replies, confirmed = await self._exchange([*commands, ("WAIT", self.replicas, REPLICAS_MS)])
        try:
            check_replicas(confirmed, self.replicas)
        except Temporary as error:
            refused = [
                write.safe and not isinstance(reply, Exception) for write, reply in zip(batch, replies, strict=True)
            ]
            return [error if too_few else reply for too_few, reply in zip(refused, replies, strict=True)]
        return replies

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
