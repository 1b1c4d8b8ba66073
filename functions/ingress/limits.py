"""What a request may weigh and how long it may take to arrive; and the errors that only HTTP has."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from knts.errors import HttpError, Temporary
from knts.room import room
from knts.runtime import NO_ROOM, NoRoom, declared_bytes, read_body

MAX_HEADERS = 32 * 1024
MAX_REQUEST = 64 * 1024
MAX_DOCUMENT = 2 * 1024 * 1024  # JSON may escape what the event, of 900 KiB at most, holds unescaped


class NotAcceptable(HttpError):
    """No representation that the client accepts."""

    status, slug, title = 406, "not-acceptable", "Not acceptable"


class SlowBody(HttpError):
    """The body took too long to arrive."""

    status, slug, title = 408, "request-timeout", "Request time-out"


class HeadersTooLarge(HttpError):
    """More header bytes than allowed."""

    status, slug, title = 431, "headers-too-large", "Request headers too large"


class BrokenOff(HttpError):
    """The client went away; nobody reads the answer."""

    status, slug, title = 400, "broken-off", "The request broke off"


def check_headers(request: Request) -> None:
    """Raises HeadersTooLarge."""
    size = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
    if size > MAX_HEADERS:
        raise HeadersTooLarge(f"the headers have {size} bytes; at most {MAX_HEADERS} are allowed")


async def body_of(request: Request, limit: int, timeout: float) -> bytes:
    """The whole body. Raises TooLarge beyond `limit` bytes, SlowBody after `timeout` seconds, NoRoom, BrokenOff."""
    try:
        return await read_body(request, limit, timeout)
    except NoRoom:
        raise
    except Temporary as error:
        raise SlowBody(error.detail) from error
    except ClientDisconnect as error:
        raise BrokenOff("the client went away before its body was complete") from error


async def chunks_of(request: Request, timeout: float, most: int = MAX_DOCUMENT) -> AsyncIterator[bytes]:
    """The body as it comes, `most` bytes of which are kept at a time.

    Raises SlowBody when nothing comes for `timeout` seconds, NoRoom, BrokenOff.
    """
    try:
        async with asyncio.timeout(timeout):
            await room.take(min(declared_bytes(request, most), most))
    except TimeoutError as error:
        raise NoRoom(NO_ROOM, retry_after=1) from error
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(timeout):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            yield chunk
    except TimeoutError as error:
        raise SlowBody(f"nothing of the body came for {timeout:g} s") from error
    except ClientDisconnect as error:
        raise BrokenOff("the client went away before its body was complete") from error
