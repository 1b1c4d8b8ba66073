"""The connection to Typesense over its REST API, and its failures in our words.

Works with 0.24 and later. Administration of the collection is `typesense_collection`, writing chunks is `chunks`,
searching is `typesense_search`; the names that chunks are stored under are `knts.index`.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from knts.errors import IndexUnavailable, Permanent
from knts.index import group_digest, meta_field, scope_filter
from knts.settings import TypesenseServer

__all__ = ["Missing", "Typesense", "failure", "group_digest", "meta_field", "scope_filter", "takes_no_writes"]


class Missing(IndexUnavailable):
    """The collection, its alias or a field does not exist (yet)."""


class Typesense:
    """One server's REST API. An async context manager: connections are opened on use and closed on exit."""

    def __init__(self, server: TypesenseServer) -> None:
        self.server = server
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={
                "X-TYPESENSE-API-KEY": self.server.api_key,
                "Accept-Encoding": "identity",  # it is near: packing takes longer than sending
            },
            timeout=aiohttp.ClientTimeout(total=self.server.timeout, sock_connect=min(3.0, self.server.timeout)),
            connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=30),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str | int] | None = None, json: Any = None
    ) -> Any:
        """The parsed JSON reply of one call; `json` is the body. Raises what `call` raises."""
        reply = await self.call(method, path, params=params, body=None if json is None else orjson.dumps(json))
        try:
            return orjson.loads(reply)
        except orjson.JSONDecodeError as error:
            raise IndexUnavailable(f"Typesense answered {method} {path} with something else than JSON") from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """The raw reply of one call, within `timeout` seconds (by default the server's setting).

        Raises Missing for what is not there, Permanent for a request that Typesense refuses, IndexUnavailable when it
        is gone, slow, lagging, out of disk or memory, or does not know our key.
        """
        if self._session is None:
            raise IndexUnavailable("the connection to Typesense is not open")
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=3.0) if timeout else self._session.timeout
        try:
            async with self._session.request(
                method, self.server.url + path, params=params, data=body, timeout=limit
            ) as response:
                reply = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise IndexUnavailable(f"Typesense is not available: {reason}", retry_after=1) from error
        if response.status >= 300:
            raise failure(response.status, reply)
        return reply

    async def ready(self) -> None:
        """Raises IndexUnavailable unless the server answers and says it is healthy, which it is when it is full too."""
        health = await self.request("GET", "/health")
        if health.get("ok") is not True:
            raise IndexUnavailable(f"Typesense is not healthy: {health.get('resource_error', 'no reason given')}")


def failure(status: int, reply: bytes) -> IndexUnavailable | Permanent:
    """What an error reply means to us."""
    message = _message(reply)
    if status == 404:
        return Missing(f"Typesense: {message}", retry_after=1)
    if status in (401, 403):
        return IndexUnavailable("Typesense does not accept our API key: check TYPESENSE_API_KEY", retry_after=5)
    if takes_no_writes(message):
        return IndexUnavailable(f"Typesense takes no writes now: {message}", retry_after=5)
    if status >= 500 or status in (408, 425, 429):
        return IndexUnavailable(f"Typesense is not available: {status} {message}", retry_after=1)
    return Permanent(f"Typesense refuses the request: {message}")


def takes_no_writes(message: str) -> bool:
    """Whether an error's message says that the server is out of disk or memory, or was told to take no writes."""
    return message.startswith(("Rejecting write", "Skipping writes"))


def _message(reply: bytes) -> str:
    try:
        return str(orjson.loads(reply)["message"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return reply[:200].decode("utf-8", "replace")
