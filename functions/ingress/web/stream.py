"""An answer's frames as Server-Sent Events of HTML, which htmx swaps into the page.

Every frame becomes one or more fragments; only its last fragment carries the frame's id, so that a connection lost
between them repeats the frame, and all but a `delta` may be repeated. A connection that starts at the beginning
first clears what an earlier one wrote.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from functions.ingress.web import answers
from functions.ingress.web.answers import Source
from functions.ingress.web.words import duration
from knts import channel
from knts.errors import Gone, HttpError, NotFound, Temporary

log = logging.getLogger(__name__)

Frames = AsyncIterator[tuple[str, str, dict[str, Any]]]
Fragment = tuple[str, Markup]  # the event's name, as the templates' sse-swap attributes have it, and its HTML
RETRY_MS = 1000  # how soon the browser connects again
PATIENCE = 60.0  # seconds until a browser that takes nothing is given up
CLEAR = ("reset", Markup("<!-- -->"))  # an event without data is not dispatched


class Fragments:
    """Turns the frames of one connection into fragments; `final` and `reading` render the two templates it needs."""

    def __init__(self, final: Callable[[Mapping[str, Any]], Markup], reading: Callable[[list[Source]], Markup]) -> None:
        self.final = final
        self.reading = reading
        self.writing = False  # whether this connection has said so

    def of(self, frame_type: str, data: Mapping[str, Any]) -> list[Fragment]:
        """The fragments of one frame, none for one that shows nothing."""
        if frame_type in channel.LAST:
            return [("final", self.final(data))]
        if frame_type == channel.DELTA:
            return self._delta(data["text"])
        if frame_type == channel.RESET:
            self.writing = False
            return [status("Starting over …"), CLEAR]
        if frame_type == channel.PASSAGES:
            passages = [answers.source(number, passage) for number, passage in enumerate(data["passages"], 1)]
            return [("reading", self.reading(passages)), status(reading_words(len(passages)))]
        if frame_type == channel.QUEUED:
            return [status(queued_words(data))]
        return []

    def _delta(self, text: str) -> list[Fragment]:
        told = [] if self.writing else [status("Writing …")]
        self.writing = True
        return [*told, ("delta", escape(text))] if text else told


def status(words: str) -> Fragment:
    """What the status line says now."""
    return "status", escape(words)


def queued_words(data: Mapping[str, Any]) -> str:
    """The place in the queue where one is told; otherwise the search is under way."""
    if position := data.get("position"):
        expected = data.get("expected_ms")
        return f"Number {position} in the queue" + (f", about {duration(expected)}" if expected else "") + " …"
    return "Searching the documents …"


def reading_words(count: int) -> str:
    """What is being read."""
    return "Reading 1 passage …" if count == 1 else f"Reading {count} passages …"


def sse(name: str, html: str, event_id: str = "") -> bytes:
    """One event of the stream, its lines as the format wants them."""
    lines = html.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\n{''.join(f'data: {line}' + chr(10) for line in lines)}\n".encode()


def encoded(fragments: Iterable[Fragment], event_id: str) -> bytes:
    """A frame's fragments as events, the last with the frame's id."""
    named = list(fragments)
    return b"".join(
        sse(name, html, event_id if index == len(named) - 1 else "") for index, (name, html) in enumerate(named)
    )


async def events(frames: Frames, fragments: Fragments, *, from_start: bool) -> AsyncGenerator[bytes, None]:
    """The body of the event stream; it ends with the answer's `final` fragment.

    What the answer's stream can no longer say is shown in its place. A dependency that is down ends the body without
    one, so that the browser connects again and goes on where it was.
    """
    yield f"retry: {RETRY_MS}\n\n".encode()
    if from_start:
        yield encoded([CLEAR], "")
    try:
        async with _closing(frames):
            async for event_id, frame_type, data in frames:
                yield encoded(fragments.of(frame_type, data), event_id) if frame_type else b": still here\n\n"
    except HttpError as error:
        yield encoded([("final", fragments.final(ended(error)))], "")
    except Temporary as error:
        log.warning("an answer's stream broke off: %s", error.detail)


@contextlib.asynccontextmanager
async def _closing(frames: Frames) -> AsyncIterator[None]:
    """Frames that are a generator stop following at once when the browser goes, and not when memory is swept."""
    try:
        yield
    finally:
        if isinstance(frames, AsyncGenerator):
            await frames.aclose()


def ended(error: HttpError) -> dict[str, Any]:
    """The object that is shown in place of an answer that can't be had."""
    names = {Gone: "expired", NotFound: "unknown"}
    return {"status": names.get(type(error), "failed"), "reason": error.detail}


class EventStream(StreamingResponse):
    """The response of an event stream; a browser that takes nothing for a while is given up, lest it pile up."""

    def __init__(self, body: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        unbuffered = {"x-accel-buffering": "no"}  # nginx would gather the stream otherwise
        super().__init__(body, media_type="text/event-stream", headers={**headers, **unbuffered})
        self.events = body

    async def stream_response(self, send: Send) -> None:
        """Send the body as it comes."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        try:
            async with contextlib.aclosing(self.events):
                await super().stream_response(patiently)
        except TimeoutError:
            log.info("gave up on a browser that took nothing for %g s", PATIENCE)
