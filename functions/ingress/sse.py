"""Server-Sent Events: how an event is written, and the response that streams them to a client of any speed."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from functions.ingress.following import HEARTBEAT
from knts.channel import Position, position
from knts.errors import BadRequest, KntsError
from knts.tasks import ended

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
BEAT = b": still here\n\n"
HEADERS = {
    "content-type": f"{MEDIA_TYPE}; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would gather the stream otherwise
    "x-content-type-options": "nosniff",
}


def encode(event_id: str, event_type: str, data: dict[str, Any]) -> bytes:
    """One event as SSE text; a heartbeat as a comment. JSON text holds no bare newline, so one data line is enough."""
    if event_type == HEARTBEAT:
        return BEAT
    named = f"id: {event_id}\n" if event_id else ""
    return f"{named}event: {event_type}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def resume_from(last_event_id: str | None) -> Position:
    """The position that `Last-Event-ID` names; the beginning without one. Raises BadRequest for what we never gave."""
    if not last_event_id:
        return Position()
    try:
        return position(last_event_id)
    except ValueError as error:
        rule = "must be an id of this stream"
        raise BadRequest(f"Last-Event-ID: {rule}", errors=[{"field": "Last-Event-ID", "rule": rule}]) from error


class EventStream:
    """An ASGI response that writes events as they come.

    It reads on only when the client has taken the last one, gives up on a client that takes nothing for `patience`
    seconds, and stops reading when the client goes.
    """

    def __init__(
        self,
        first: tuple[str, str, dict[str, Any]],
        rest: AsyncIterator[tuple[str, str, dict[str, Any]]],
        *,
        patience: float,
        headers: dict[str, str],
    ) -> None:
        self._first = first
        self._rest = rest
        self._patience = patience
        self.headers = {**HEADERS, **headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            await ended(writing, leaving)

    async def _write(self, send: Send) -> None:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        try:
            await self._send(send, {"type": "http.response.body", "body": self.encode(self._first), "more_body": True})
            async for event in self._rest:
                if body := self.encode(event):
                    await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.info("gave up on a client that took nothing for %g s", self._patience)
        except KntsError as error:
            # the client comes back with the last id that it has and hears then what is the matter
            log.warning("broke off a stream of events: %s", error.detail)
        finally:
            if isinstance(self._rest, contextlib.AbstractAsyncContextManager) or hasattr(self._rest, "aclose"):
                await self._rest.aclose()

    def encode(self, event: tuple[str, str, dict[str, Any]]) -> bytes:
        """An event as it is sent."""
        return encode(*event)

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._patience):
            await send(message)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
