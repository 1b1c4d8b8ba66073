"""Connections to the two Redis servers, Lua scripts from their files, and Redis' failures in our words."""

import contextlib
import hashlib
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
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


@contextlib.contextmanager
def failures(what: str = "Redis") -> Iterator[None]:
    """Turn Redis being gone, loading, full or read-only into `Temporary`; other failures are bugs and pass."""
    try:
        yield
    except _TRANSIENT as error:
        raise Temporary(f"{what} is not available: {error or type(error).__name__}", retry_after=1) from error


def connect(url: str, *, timeout: float = 5.0, connections: int = 64) -> Redis:
    """A client of `url` that opens its connections when they are needed.

    Nothing is retried below us: redis-py's own retry after a stall stores an entry twice. `timeout` in seconds is for
    connecting and for each reply; blocking commands must ask for less. Beyond `connections` calls at once, the next
    ones wait for a connection, as long.

    A connection that the server has closed is replaced before a command is written to it. Redis Enterprise's
    maintenance notifications are off, since where they are on redis-py uses it all the same, and the command fails.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **({} if url.startswith("unix") else {"socket_keepalive": True}),
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

    async def __call__(self, client: Redis, keys: list[str], args: list[Any], *, what: str = "Redis") -> Any:
        """The script's reply. Raises Temporary when Redis, called `what`, is not available."""
        with failures(what):
            if client in self._sent:
                try:
                    return await client.evalsha(self._digest, len(keys), *keys, *args)
                except redis.exceptions.NoScriptError:
                    self._sent.discard(client)  # the server was restarted: what it ran before is gone
            reply = await client.eval(self._source, len(keys), *keys, *args)
            self._sent.add(client)
            return reply


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
