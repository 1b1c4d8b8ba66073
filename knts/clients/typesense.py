"""The connection to Typesense over its REST API, its failures in our words, and the names that chunks are stored under.

Works with 0.24 and later. Administration of the collection is `typesense_collection`, writing chunks is `chunks`,
searching is `typesense_search`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from knts.errors import Permanent, Temporary
from knts.settings import TypesenseServer

EVERYONE = "everyone"  # in `readers` where a document has no acl; digests are hex, so no group can be called that
META = "meta_"
_PLAIN_KEY = re.compile(r"(?!x_)[A-Za-z][A-Za-z0-9_]{0,63}\Z")


class Missing(Temporary):
    """The collection, its alias or a field does not exist (yet)."""


def tenant_digest(tenant: str) -> str:
    """A tenant's name as 32 hex characters: needs no escaping in a filter."""
    return _digest("tenant", tenant)


def group_digest(group: str) -> str:
    """A group's name as 32 hex characters."""
    return _digest("group", group)


def document_digest(tenant: str, document_id: str) -> str:
    """A tenant's document as 32 hex characters, the field `document` of its chunks."""
    return _digest("document", tenant, document_id)


def scope_filter(tenant: str, groups: Iterable[str]) -> str:
    """The filter that every search carries: the tenant's chunks that are readable by one of the groups."""
    readers = [EVERYONE, *sorted(group_digest(group) for group in groups)]
    return f"tenant:={tenant_digest(tenant)} && readers:=[{','.join(readers)}]"


def meta_field(key: str) -> str:
    """The field that holds a metadata key's values: `meta_<key>`, hex-encoded where the key is no plain word."""
    return META + (key if _PLAIN_KEY.match(key) else "x_" + key.encode().hex())


def meta_key(field: str) -> str:
    """The metadata key that a field of `meta_field` stands for."""
    name = field.removeprefix(META)
    return bytes.fromhex(name[2:]).decode() if name.startswith("x_") else name


def meta_value(value: str | float | bool) -> str:
    """A metadata value as the text that it is stored and filtered by: `true`, `3`, `2.5`, or the string itself."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _digest(*parts: str) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


class Typesense:
    """One server's REST API. An async context manager: connections are opened on use and closed on exit."""

    def __init__(self, server: TypesenseServer) -> None:
        self.server = server
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"X-TYPESENSE-API-KEY": self.server.api_key},
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
            raise Temporary(f"Typesense answered {method} {path} with something else than JSON") from error

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

        Raises Missing for what is not there, Permanent for a request that Typesense refuses, Temporary when it is
        gone, slow, lagging, out of disk or memory, or does not know our key.
        """
        if self._session is None:
            raise Temporary("the connection to Typesense is not open")
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=3.0) if timeout else self._session.timeout
        try:
            async with self._session.request(
                method, self.server.url + path, params=params, data=body, timeout=limit
            ) as response:
                reply = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise Temporary(f"Typesense is not available: {reason}", retry_after=1) from error
        if response.status >= 300:
            raise failure(response.status, reply)
        return reply

    async def ready(self) -> None:
        """Raises Temporary unless the server answers and says it is healthy."""
        health = await self.request("GET", "/health")
        if health.get("ok") is not True:
            raise Temporary(f"Typesense is not healthy: {health.get('resource_error', 'no reason given')}")


def failure(status: int, reply: bytes) -> Temporary | Permanent:
    """What an error reply means to us."""
    message = _message(reply)
    if status == 404:
        return Missing(f"Typesense: {message}", retry_after=1)
    if status in (401, 403):
        return Temporary("Typesense does not accept our API key: check TYPESENSE_API_KEY", retry_after=5)
    if _takes_no_writes(message):
        return Temporary(f"Typesense takes no writes now: {message}", retry_after=5)
    if status >= 500 or status in (408, 425, 429):
        return Temporary(f"Typesense is not available: {status} {message}", retry_after=1)
    return Permanent(f"Typesense refuses the request: {message}")


def _takes_no_writes(message: str) -> bool:
    return message.startswith("Rejecting write") or "running out of resource" in message


def _message(reply: bytes) -> str:
    try:
        return str(orjson.loads(reply)["message"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return reply[:200].decode("utf-8", "replace")
