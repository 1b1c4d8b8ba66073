"""Chat completions over HTTP, whole or as chunks that come; what they hold is for `chat` and `chat_answers` to say."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.ingress import chat, chat_answers
from functions.ingress.access import Principal
from functions.ingress.asks import Event
from functions.ingress.handler import HEARTBEAT, Begun, Ingress, Position
from functions.ingress.sse import BEAT, EventStream
from functions.ingress.web.words import document_link
from knts import channel, errors
from knts.errors import BadRequest, KntsError, NotFound
from knts.events import JSON
from knts.tasks import ended

log = logging.getLogger(__name__)

MAX_CHAT = 512 * 1024  # bytes: the client sends the whole conversation again and again
PATHS = ("/v1/chat/", "/v1/models")
ABSENT = ("/v1/responses", "/v1/completions", "/v1/embeddings")  # others of OpenAI's that clients may try
DONE = b"data: [DONE]\n\n"
Cancel = Callable[[], Awaitable[None]]
T = TypeVar("T")


def speaks(path: str) -> bool:
    """Whether a path is one of OpenAI's, whose errors have OpenAI's form too."""
    return path.startswith((*PATHS, *ABSENT))


def no_such_path(path: str) -> NotFound:
    """The error for a path that there is not; of OpenAI's, it says what there is."""
    instead = "; of OpenAI's API there are POST /v1/chat/completions and GET /v1/models" if speaks(path) else ""
    return NotFound(f"there is no such path{instead}")


def refusal(error: KntsError) -> Response:
    """An error in OpenAI's envelope."""
    headers = errors.headers(error) | {"content-type": JSON}
    return Response(orjson.dumps(chat_answers.envelope(error)), error.status, headers)


async def answer(
    ingress: Ingress, request: Request, who: Principal, body: Mapping[str, Any], heartbeat: float, patience: float
) -> ASGIApp:
    """The response to a chat request whose body was read; who hangs up ends his part at once."""
    asked = chat.parse(body)
    if named := asked.request.get("model"):
        await ingress.offered.check(named)
    try:
        begun = await ingress.begin(who, asked.request, asked.before)
    except BadRequest as error:
        raise chat.renamed(error) from error
    base = str(request.base_url).rstrip("/")

    def linked(citation: Mapping[str, Any]) -> str:
        return base + document_link(citation, citation["start"], citation["end"])

    async def cancel() -> None:
        await given_up(ingress, who, begun.id)

    created = int(time.time())
    if not asked.stream:
        final = await _last(request, _events(ingress, who, begun, None), cancel)
        if final is None:
            return Response(status_code=204)
        return Response(orjson.dumps(chat_answers.completion(asked, final, created, linked)), media_type=JSON)
    events = _events(ingress, who, begun, heartbeat)
    first = await _until_gone(request, _first(events))
    if first is None:
        await events.aclose()
        await cancel()
        return Response(status_code=204)
    if first[1] in channel.LAST and (failed := chat_answers.failure(first[2])):
        await events.aclose()
        raise failed  # nothing was sent yet, so that it can have a status of its own
    return ChatStream(first, events, chat_answers.Chunks(asked, begun.id, created, linked), cancel, patience)


async def given_up(ingress: Ingress, who: Principal, ask_id: str) -> None:
    """The client has hung up and can't come back: nobody waits for the answer any more."""
    try:
        await ingress.cancel(who, ask_id)
    except KntsError as error:
        log.warning("an answer that nobody waits for runs on: %s", error.detail, extra={"ask": ask_id})


async def _events(ingress: Ingress, who: Principal, begun: Begun, heartbeat: float | None) -> AsyncGenerator[Event]:
    """The answer's events; a failure on the way is the last of them."""
    for event in begun.events:
        yield event
    if begun.events:
        return
    following = cast(AsyncGenerator[Event], ingress.follow(who, begun.id, Position(), heartbeat=heartbeat))
    try:
        async with contextlib.aclosing(following) as events:
            async for event in events:
                yield event
    except KntsError as error:
        final = {"id": begun.id, "status": channel.FAILED, "reason": error.detail, "problem": errors.problem(error)}
        yield "", channel.FAILED, final


async def _first(events: AsyncIterator[Event]) -> Event:
    """The first event that is worth a response: words, the end, or a sign of life when neither comes for a while."""
    async for event in events:
        if event[1] in (channel.DELTA, HEARTBEAT) or event[1] in channel.LAST:
            return event
    raise KntsError("the answer ended without an end")


async def _last(request: Request, events: AsyncGenerator[Event], cancel: Cancel) -> dict[str, Any] | None:
    """The finished answer; None where the client has gone, which ends its part."""

    async def last() -> dict[str, Any]:
        final: dict[str, Any] = {}
        async for _, _, final in events:  # noqa: B007 - the last one counts
            pass
        return final

    final = await _until_gone(request, last())
    if final is None:
        await cancel()
    return final


async def _until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, and the work cancelled, where the client goes first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await ended(working, leaving)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class ChatStream(EventStream):
    """The chunks as Server-Sent Events. A client that goes before the end has no way back, so its part is ended."""

    def __init__(
        self, first: Event, rest: AsyncIterator[Event], chunks: chat_answers.Chunks, cancel: Cancel, patience: float
    ) -> None:
        super().__init__(first, rest, patience=patience, headers={})
        self.chunks = chunks
        self.cancel = cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self.chunks.ended:
                await self.cancel()

    def encode(self, event: Event) -> bytes:
        """An event's chunks; nothing for one that has none."""
        _, event_type, data = event
        if event_type == HEARTBEAT:
            return BEAT
        chunks = self.chunks.take(event_type, data)
        told = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks)
        return told + DONE if self.chunks.ended and "error" not in chunks[-1] else told
