"""The shared runtime around every function: functions-framework's asyncio app, with strict events in and out.

An event function is a table of handlers by event type. The runtime parses, checks and verifies each delivery, calls
the handler and answers as a Knative Broker expects: 200 and one CloudEvent, 202 and nothing, 4xx for what no retry
cures, 503 for what one may cure. Error bodies are problems of at most 700 bytes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from knts import errors, events, schemas, telemetry
from knts.errors import KntsError, Permanent, Temporary, TooLarge
from knts.events import Event
from knts.room import room
from knts.settings import read, seconds, setting, words

log = logging.getLogger(__name__)

Handler = Callable[[Event], Awaitable[Event | None]]
Check = Callable[[], Awaitable[None]]
Awaited = Callable[[Event], Awaitable[bool]]
Pages = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class RuntimeSettings:
    """What every function reads beside its own settings."""

    signing_keys: tuple[str, ...] = setting(
        "KNTS_SIGNING_KEY",
        "key that signs internal events; several, comma-separated, are all accepted and the first signs",
        parse=words,
        secret=True,
    )
    producer_tenants: tuple[str, ...] = setting(
        "KNTS_PRODUCER_TENANTS",
        "tenants, comma-separated, that unsigned document events may name; the first is meant where none is named",
        ("local",),
        parse=words,
    )
    body_timeout: float = setting(
        "KNTS_BODY_TIMEOUT", "seconds that a request's body may take to arrive", 10.0, parse=seconds
    )


async def _always() -> None:
    return None


@dataclass(frozen=True)
class Wiring:
    """A started function: its handlers by event type, and a readiness check that raises what is missing.

    `anything` takes whatever else is delivered, unchecked: only for where events go that nobody else could take.
    `pages` answers every path but `/` and the health routes, for those who operate the function.
    `awaited` says whether somebody still waits for what an event asks for. It is asked of one whose `expirytime` has
    passed by this machine's clock, which may be wrong; without it every event is worked.
    """

    handlers: Mapping[str, Handler]
    ready: Check = _always
    anything: Handler | None = None
    pages: Pages | None = None
    awaited: Awaited | None = None


Wire = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Wiring]]


@dataclass
class EventFunction:
    """One event function: `wire` opens its clients at start-up and closes them at shutdown."""

    name: str
    wire: Wire
    settings: RuntimeSettings | None = field(default=None, init=False)
    wiring: Wiring | None = field(default=None, init=False)

    @contextlib.asynccontextmanager
    async def started(self, env: Mapping[str, str]) -> AsyncIterator[None]:
        """The function's life: settings are read and clients opened on entry, closed on exit."""
        self.settings = read(RuntimeSettings, env)
        async with self.wire(env) as self.wiring:
            yield
        self.wiring = None

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request: a health route or a delivery."""
        if request.url.path in HEALTH_ROUTES and request.method in ("GET", "HEAD"):
            return await health(request.url.path, self.wiring.ready if self.wiring else None)
        with telemetry.correlated(request.headers.get("ce-correlationid", "")):
            try:
                return await self._deliver(request)
            except KntsError as error:
                log.warning("refused: %s", error.detail, extra={"status": error.status, "function": self.name})
                return problem_response(error, limit=errors.MAX_PROBLEM_BYTES)
            except Exception:
                log.exception("a bug in %s", self.name)
                return problem_response(KntsError("unexpected failure; the log has it"))

    async def _deliver(self, request: Request) -> Response:
        if self.wiring is None or self.settings is None:
            raise Temporary(f"{self.name} is not started yet", retry_after=1)
        if self.wiring.pages and request.url.path != "/":
            return await self.wiring.pages(request)
        if request.method != "POST" or request.url.path != "/":
            return problem_response(MethodNotAllowed("events are taken by POST on /"))
        if self.wiring.anything:
            return await self._deliver_anything(request, self.wiring.anything)
        body = await read_body(request, events.MAX_EVENT_BYTES + 64 * 1024, self.settings.body_timeout)
        event = self._accept(events.from_http(request.headers.raw, body))
        handler = self.wiring.handlers[event.type]
        if self.wiring.awaited and events.expired(event) and not await self.wiring.awaited(event):
            log.info("expired before it was worked", extra={"event_type": event.type, "event_id": event.id})
            return Response(status_code=202)
        with telemetry.processing(event, request.headers) as work:
            reply = await handler(event)
            if reply is None:
                return Response(status_code=202)
            schemas.check_data(reply)
            work.replied(reply.type)
        headers, data = events.to_http(events.signed(telemetry.traced(reply), self.settings.signing_keys))
        return Response(data, status_code=200, headers=headers)

    async def _deliver_anything(self, request: Request, handler: Handler) -> Response:
        """Hand over what came, event or not; an answer of 4xx would lose it for good."""
        assert self.settings is not None
        body = await read_body(request, ANYTHING_BYTES, self.settings.body_timeout)
        event = events.salvage(request.headers.raw, body)
        with telemetry.processing(event, request.headers):
            await handler(event)
        return Response(status_code=202)

    def _accept(self, event: Event) -> Event:
        """The event, once it is known to be one that this function takes, signed and valid; with its tenant set."""
        assert self.wiring is not None
        assert self.settings is not None
        if event.type not in self.wiring.handlers:
            allowed = ", ".join(sorted(self.wiring.handlers))
            raise Permanent(
                f"{self.name} does not take {event.type[:100]}; it takes {allowed}",
                errors=[{"field": "type", "rule": f"must be one of {allowed}"}],
            )
        events.check_signature(event, self.settings.signing_keys)
        schemas.check_data(event)
        if "signature" not in event.attributes:
            return in_producer_tenant(event, self.settings.producer_tenants)
        if not event.tenant:
            raise Permanent("tenant: is required", errors=[{"field": "tenant", "rule": "is required"}])
        return event


class MethodNotAllowed(errors.BadRequest):
    """The path or method is not one of this function's."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


ANYTHING_BYTES = 64 * 1024 * 1024  # beyond this even a Broker of many gives up first
HEALTH_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})


async def health(path: str, ready: Check | None) -> Response:
    """Answer `/healthz` (the process runs), `/readyz` (its dependencies answer) or `/metrics` (Prometheus text)."""
    if path == "/metrics":
        text, media_type = telemetry.metrics()
        return Response(text, media_type=media_type)
    if path == "/readyz":
        try:
            if ready is None:
                raise Temporary("not started yet", retry_after=1)
            await asyncio.wait_for(ready(), 5)
        except TimeoutError:
            return problem_response(Temporary("a dependency did not answer within 5 s", retry_after=5))
        except KntsError as error:
            return problem_response(error)
    return Response(b"ok\n", media_type="text/plain")


def in_producer_tenant(event: Event, tenants: tuple[str, ...]) -> Event:
    """An unsigned document event with its tenant set. Raises Permanent for a tenant that producers may not name."""
    tenant = event.tenant or tenants[0]
    if tenant not in tenants:
        raise Permanent(
            f"unsigned events may not name the tenant {tenant[:80]!r}",
            errors=[{"field": "tenant", "rule": f"must be absent or one of {', '.join(tenants)}"}],
        )
    return Event({**event.attributes, "tenant": tenant}, event.data)


async def read_body(request: Request, limit: int, timeout: float) -> bytes:
    """The request's whole body. Raises TooLarge beyond `limit` bytes, Temporary after `timeout` seconds.

    A body that is not small waits for room first (`knts.room`); NoRoom, a Temporary, when there is none in that time.
    """
    expected = declared_bytes(request, limit)
    if expected > limit:
        raise TooLarge(f"the body has {expected} bytes; at most {limit} are allowed")
    chunks: list[bytes] = []
    size, roomy = 0, False
    try:
        async with asyncio.timeout(timeout):
            await room.take(expected)
            roomy = True
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"the body has more than {limit} bytes")
                chunks.append(chunk)
    except TimeoutError:
        if not roomy:
            raise NoRoom(NO_ROOM, retry_after=1) from None
        raise Temporary(f"the body did not arrive within {timeout:g} s") from None
    return b"".join(chunks)


class NoRoom(Temporary):
    """Too many large bodies at once."""


NO_ROOM = "too many large bodies are under way"


def declared_bytes(request: Request, most: int) -> int:
    """How large a body says it is; `most` for one that does not say and may be anything."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit():
        return int(declared)
    return most if "transfer-encoding" in request.headers else 0


def problem_response(error: KntsError, *, limit: int | None = None, **extra: object) -> Response:
    """The RFC 9457 response of an error."""
    return Response(
        errors.problem_bytes(error, limit=limit, **extra), status_code=error.status, headers=errors.headers(error)
    )


@dataclass
class HttpFunction:
    """A function that is an HTTP API of its own: `wire` starts it and yields the ASGI app that answers."""

    name: str
    wire: Callable[[Mapping[str, str]], AbstractAsyncContextManager[ASGIApp]]
    app: ASGIApp | None = field(default=None, init=False)

    @contextlib.asynccontextmanager
    async def started(self, env: Mapping[str, str]) -> AsyncIterator[None]:
        """The function's life: settings are read and clients opened on entry, closed on exit."""
        async with self.wire(env) as self.app:
            yield
        self.app = None

    async def __call__(self, request: Request) -> ASGIApp:
        """Hand the request to the app, which functions-framework's Starlette route calls like any response."""
        if self.app is None:
            return problem_response(Temporary(f"{self.name} is not started yet", retry_after=1))
        return self.app


Function = EventFunction | HttpFunction
