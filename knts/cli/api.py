"""The HTTP API of ingress as the commands call it: JSON in and out, errors as sentences."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson

from knts import events
from knts.cli.errors import Answered, CommandError, NoConnection
from knts.cli.sse import ServerEvent, Splitter
from knts.events import Event

RawHeaders = list[tuple[bytes, bytes]]

_LONGEST_SSE_SILENCE = 60.0  # a heartbeat comes every 15 s


class Api:
    """A connection to one server, with the key that goes with it. An async context manager."""

    def __init__(self, url: str, key: str = "", *, connections: int = 32) -> None:
        if not url.startswith(("http://", "https://")):
            raise CommandError(f"{url!r} is not an address; one looks like http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._connections = connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections), headers=self._headers
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def json(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, Any] | None = None, timeout: float = 30
    ) -> Any:
        """The JSON reply to a JSON request. Raises NoConnection, or Answered with the server's own sentence."""
        data = None if body is None else orjson.dumps(body)
        headers = {"accept": "application/json", **({} if data is None else {"content-type": "application/json"})}
        limits = aiohttp.ClientTimeout(total=timeout)
        with self._unreachable():
            async with self._session.request(
                method, self.url + path, data=data, params=pairs(query), headers=headers, timeout=limits
            ) as response:
                reply = await response.read()
        if response.status >= 400:
            raise refusal(response.status, reply, response.headers.get("retry-after"))
        return orjson.loads(reply) if reply.strip() else None

    async def post_event(self, event: Event, path: str = "", *, timeout: float = 30) -> tuple[RawHeaders, bytes]:
        """Deliver an event in binary mode; the raw headers, in lower case, and the body of the answer."""
        headers, body = events.to_http(event)
        limits = aiohttp.ClientTimeout(total=timeout)
        with self._unreachable():
            async with self._session.post(
                self.url + path, data=body, headers={**headers, "prefer": "reply"}, timeout=limits
            ) as response:
                reply = await response.read()
        if response.status >= 300:
            raise refusal(response.status, reply, response.headers.get("retry-after"))
        return [(name.lower(), value) for name, value in response.raw_headers], reply

    async def text(self, path: str, *, timeout: float = 5) -> str:
        """A text page, such as `/metrics`."""
        with self._unreachable():
            async with self._session.get(self.url + path, timeout=aiohttp.ClientTimeout(total=timeout)) as response:
                reply = await response.read()
        if response.status >= 400:
            raise refusal(response.status, reply, response.headers.get("retry-after"))
        return reply.decode("utf-8", "replace")

    async def events(
        self, method: str, path: str, body: Any = None, *, last_id: str = "", silence: float = _LONGEST_SSE_SILENCE
    ) -> AsyncIterator[ServerEvent]:
        """The server-sent events of a stream until it ends, also where it breaks off: that raises NoConnection."""
        headers = {"accept": "text/event-stream", **({"last-event-id": last_id} if last_id else {})}
        data = None
        if body is not None:
            data, headers["content-type"] = orjson.dumps(body), "application/json"
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        splitter = Splitter()
        with self._unreachable():
            async with self._session.request(
                method, self.url + path, data=data, headers=headers, timeout=limits
            ) as response:
                if response.status >= 400:
                    raise refusal(response.status, await response.read(), response.headers.get("retry-after"))
                async for chunk in response.content.iter_any():
                    for event in splitter.feed(chunk):
                        yield event

    @contextlib.contextmanager
    def _unreachable(self) -> Iterator[None]:
        try:
            yield
        except aiohttp.InvalidURL as error:
            raise CommandError(f"{self.url!r} is not an address") from error
        except TimeoutError as error:
            raise NoConnection(f"{self.url} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoConnection(
                f"cannot reach {self.url}: {reason(error)}. `knts up` starts a server; --url names another address"
            ) from error


def document_path(document_id: str) -> str:
    """The path of a document, whose id may hold any characters."""
    return f"/v1/documents/{quote(document_id, safe='')}"


def pairs(query: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Query parameters; a list gives one for each value, None none."""
    found = []
    for name, value in (query or {}).items():
        found += [
            (name, str(item)) for item in (value if isinstance(value, (list, tuple)) else [value]) if item is not None
        ]
    return found


def refusal(status: int, reply: bytes, retry_after: str | None = None) -> Answered:
    """What an error reply says: its problem's title, detail and fields, or the start of its text."""
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    if status == 401:
        return Answered("the server wants a key: set KNTS_API_KEY to one that it knows", status)
    try:
        problem = orjson.loads(reply)
    except orjson.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict):
        said = " ".join(reply.decode("utf-8", "replace").split())[:200]
        return Answered(f"the server answered {status}{': ' + said if said else ''}", status, wait)
    return Answered(sentence(problem), status, wait)


def sentence(problem: Mapping[str, Any]) -> str:
    """An RFC 9457 problem in one line."""
    detail = str(problem.get("detail") or problem.get("title") or "it failed")
    fields = [f"{error.get('field')}: {error.get('rule')}" for error in problem.get("errors") or []]
    missing = [field for field in fields if field not in detail]
    return f"{detail} ({'; '.join(missing)})" if missing else detail


def reason(error: Exception) -> str:
    """Why a connection failed, without the library's wording around it."""
    inner = getattr(error, "os_error", None) or error
    number = getattr(inner, "errno", None)
    known = os.strerror(number).lower() if isinstance(number, int) and number > 0 else ""
    return known or str(inner) or type(inner).__name__
