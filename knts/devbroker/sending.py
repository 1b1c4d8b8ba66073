"""One attempt to deliver an event: an HTTP POST to the subscriber, and its answer read with care."""

import asyncio
from collections.abc import Mapping

import aiohttp

from knts import events
from knts.devbroker.delivery import Attempt, retry_after
from knts.errors import BadEvent, TooLarge
from knts.events import Event

KEPT_ALIVE = 15.0
CONNECT = 5.0
MAX_REPLY_BYTES = events.MAX_EVENT_BYTES + 64 * 1024  # an event in structured mode has its attributes in the body


def session() -> aiohttp.ClientSession:
    """The connections to subscribers: as many as are needed, no redirects' cookies, nothing decompressed unasked."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


async def send(http: aiohttp.ClientSession, url: str, event: Event, more: Mapping[str, str], timeout: float) -> Attempt:
    """Post `event` in binary mode with the headers `more`; the answer has to be complete within `timeout` seconds."""
    headers, body = events.to_http(event)
    try:
        async with asyncio.timeout(timeout):
            async with http.post(url, data=body, headers={**headers, **more}, allow_redirects=False) as answer:
                return await _read(answer)
    except TimeoutError as error:
        return Attempt(504, str(error) or f"no answer within {timeout:g} s", retriable=True)
    except (aiohttp.ClientError, OSError) as error:
        return Attempt(503, f"no answer: {error or type(error).__name__}", retriable=True)


async def _read(answer: aiohttp.ClientResponse) -> Attempt:
    body = await _body(answer)
    if not 200 <= answer.status < 300:
        fault = f"the subscriber answered {answer.status}"
        return Attempt(answer.status, fault, body, retry_after(answer.headers.get("Retry-After")))
    try:
        return Attempt(answer.status, reply=_reply(answer, body))
    except (BadEvent, TooLarge) as error:
        return Attempt(502, f"the reply is no valid CloudEvent: {error.detail}", retriable=True)


def _reply(answer: aiohttp.ClientResponse, body: bytes) -> Event | None:
    """The reply in a 2xx answer: none where there is neither a body nor an event's headers."""
    headers = [(name.lower(), value) for name, value in answer.raw_headers]
    if not body and not any(name.startswith(b"ce-") for name, _ in headers):
        return None
    return events.from_http(headers, body, versions=("1.0", "0.3"))


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The answer's body, cut at the first byte that is too much."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        parts.append(part)
        if (size := size + len(part)) > MAX_REPLY_BYTES:
            answer.close()
            break
    return b"".join(parts)
