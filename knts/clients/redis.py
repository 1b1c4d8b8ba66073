"""Connections to the two Redis servers, Lua scripts from their files, and Redis' failures in our words."""

import contextlib
import hashlib
import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import redis.asyncio
import redis.exceptions
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from knts.errors import Temporary

log = logging.getLogger(__name__)
LUA = Path(__file__).parent / "lua"
INCLUDE = b"-- include: "

Redis: TypeAlias = redis.asyncio.Redis

_TRANSIENT = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    OSError,
    TimeoutError,
)
_TRANSIENT_REPLIES = (  # errors that redis-py has no class for
    "MISCONF",  # the disk refuses what has to be saved
    "NOREPLICAS",  # fewer replicas than `min-replicas-to-write`
    "UNBLOCKED",  # demoted while a command waited
    "BUSY ",  # a script of somebody else's runs
)
REPLICAS_MS = 2000  # that replicas may take to confirm a write
_LIVELINESS = {  # a peer that died without a word is given up after a minute, also by whoever only listens
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}.items()
    if hasattr(socket, name)  # Linux has all of them
}


@contextlib.contextmanager
def failures(what: str = "Redis") -> Iterator[None]:
    """Turn Redis being gone, loading, full or read-only into `Temporary`; other failures are bugs and pass."""
    try:
        yield
    except _TRANSIENT as error:
        raise Temporary(f"{what} is not available: {error or type(error).__name__}", retry_after=1) from error
    except redis.exceptions.ResponseError as error:
        if not str(error).startswith(_TRANSIENT_REPLIES):
            raise
        raise Temporary(f"{what} is not available: {error}", retry_after=1) from error


class _Wary:
    """A connection that tells its pool when the server says that it is a replica (now).

    And one that is closed while it is written to has failed as connections do: uvloop calls that a RuntimeError.
    """

    demoted: Callable[[], None]

    async def send_packed_command(self, *args: Any, **more: Any) -> None:
        try:
            await super().send_packed_command(*args, **more)  # type: ignore[misc]
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise redis.exceptions.ConnectionError("the connection was closed") from error

    async def read_response(self, *args: Any, push_request: bool | None = False, **more: Any) -> Any:
        if push_request and self.should_reconnect():  # type: ignore[attr-defined]
            raise redis.exceptions.ConnectionError("the server that is subscribed to was demoted")
        try:
            return await super().read_response(*args, push_request=push_request, **more)  # type: ignore[misc]
        except redis.exceptions.ResponseError as error:
            if isinstance(error, redis.exceptions.ReadOnlyError) or str(error).startswith("UNBLOCKED"):
                self.demoted()
            raise


class Pool(redis.asyncio.BlockingConnectionPool):  # type: ignore[misc]
    """Connections to whichever server is the primary behind one address.

    A demoted one keeps its connections open and answers reads from what it has. So when it refuses one write as a
    replica, none of its connections is used again: idle ones not at all, those in use not after their command.
    """

    def __init__(self, connection_class: type = redis.asyncio.Connection, **options: Any) -> None:
        wary = type(f"Wary{connection_class.__name__}", (_Wary, connection_class), {})
        super().__init__(connection_class=wary, **options)

    def make_connection(self) -> Any:
        connection = super().make_connection()
        connection.demoted = self._demoted
        return connection

    def _demoted(self) -> None:
        for connection in (*self._available_connections, *self._in_use_connections):
            connection.mark_for_reconnect()

    async def ensure_connection(self, connection: Any) -> None:
        if connection.should_reconnect():
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


def connect(url: str, *, timeout: float = 5.0, connections: int = 64) -> Redis:
    """A client of `url` that opens its connections when they are needed.

    Nothing is retried below us: redis-py's own retry after a stall stores an entry twice. `timeout` in seconds is for
    connecting and for each reply; blocking commands must ask for less. Beyond `connections` calls at once, the next
    ones wait for a connection, as long.

    A connection that the server has closed is replaced before a command is written to it. Redis Enterprise's
    maintenance notifications are off, since where they are on redis-py uses it all the same, and the command fails.
    """
    tcp = {"socket_keepalive": True, "socket_keepalive_options": _LIVELINESS}
    pool = Pool.from_url(
        url,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **({} if url.startswith("unix") else tcp),
        max_connections=connections,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return redis.asyncio.Redis.from_pool(pool)


@contextlib.asynccontextmanager
async def connected(url: str, *, timeout: float = 5.0, connections: int = 64) -> AsyncIterator[Redis]:
    """The same, closed on exit."""
    client = connect(url, timeout=timeout, connections=connections)
    try:
        yield client
    finally:
        await client.aclose()


async def ping(client: Redis, what: str = "Redis") -> None:
    """Raises Temporary unless the server answers."""
    with failures(what):
        await client.ping()


async def check_durable(client: Redis) -> list[str]:
    """What makes this server unfit to hold state that may not be lost, in words; empty when it is fit."""
    with failures():
        try:
            config = await client.config_get("maxmemory-policy", "appendonly", "appendfsync")
        except redis.exceptions.ResponseError:
            return []  # CONFIG is disabled on managed servers: nothing can be known
    text = {_text(name): _text(value) for name, value in config.items()}
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
    return [
        f"{name} is {text[name]}, should be {want}" for name, want in wanted.items() if text.get(name, want) != want
    ]


class Script:
    """One Lua script from its file in `lua/`: sent in full the first time a client uses it, then by its digest.

    A first line `-- include: NAME` puts `lua/include/NAME.lua` before it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._source = (LUA / f"{name}.lua").read_bytes()
        first = self._source.split(b"\n", 1)[0]
        if first.startswith(INCLUDE):
            named = first.removeprefix(INCLUDE).decode().strip()
            self._source = (LUA / "include" / f"{named}.lua").read_bytes() + self._source
        self._digest = hashlib.sha1(self._source, usedforsecurity=False).hexdigest()
        self._sent: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __call__(
        self, client: Redis, keys: list[str], args: list[Any], *, what: str = "Redis", replicas: int = 0
    ) -> Any:
        """The script's reply, once `replicas` have what it wrote too.

        Raises Temporary when Redis, called `what`, is not available, or too few replicas confirm: then it was run.
        """
        with failures(what):
            if client in self._sent:
                try:
                    return await replicated(client, replicas, "EVALSHA", self._digest, len(keys), *keys, *args)
                except redis.exceptions.NoScriptError:
                    self._sent.discard(client)  # the server was restarted: what it ran before is gone
            reply = await replicated(client, replicas, "EVAL", self._source, len(keys), *keys, *args)
            self._sent.add(client)
            return reply


async def replicated(client: Redis, replicas: int, *command: Any) -> Any:
    """The reply to a command, once so many replicas have what it wrote. Raises Temporary when too few confirm it."""
    if not replicas:
        return await client.execute_command(*command)
    async with client.pipeline(transaction=False) as pipeline:  # WAIT speaks of its own connection's writes
        pipeline.execute_command(*command)
        pipeline.execute_command("WAIT", replicas, REPLICAS_MS)
        reply, confirmed = await pipeline.execute(raise_on_error=False)
    if isinstance(reply, Exception):
        raise reply
    check_replicas(confirmed, replicas)
    return reply


def check_replicas(confirmed: Any, replicas: int) -> None:
    """Raises Temporary where WAIT has told of fewer replicas, or failed."""
    if isinstance(confirmed, Exception) or confirmed < replicas:
        told = confirmed if isinstance(confirmed, int) else "none"
        raise Temporary(f"{told} of {replicas} replicas of Redis have confirmed the write", retry_after=1)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
