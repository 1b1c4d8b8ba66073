"""The broker's HTTP side: takes events as Knative's broker ingress does, and answers health, metrics and the tap.

What Knative's lacks: a cap on the body (413), deadlines, a full queue (503 with `Retry-After`), and the paths for
replaying to one Trigger and for watching.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from knts import errors, events, telemetry
from knts.devbroker import delivery, tracing
from knts.devbroker.dispatch import Dispatcher
from knts.devbroker.loading import Manifests
from knts.devbroker.manifests import Broker, Trigger
from knts.devbroker.store import Store
from knts.devbroker.tap import Listener, message
from knts.devbroker.watching import Watcher
from knts.errors import BadEvent, BadRequest, HttpError, KntsError, NotFound, Temporary, TooLarge
from knts.events import Event
from knts.room import room

log = logging.getLogger(__name__)

MAX_BODY = events.MAX_EVENT_BYTES + 64 * 1024
VERSIONS = ("1.0", "0.3")
ALLOW = {"Allow": "POST, OPTIONS"}
ANY_ORIGIN = {**ALLOW, "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}


class MethodNotAllowed(HttpError):
    """Events are posted."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class RequestTimeout(HttpError):
    """The body did not come in time."""

    status, slug, title = 408, "request-timeout", "The request took too long"


class Ingress:
    """Answers every request to the broker."""

    def __init__(
        self, dispatcher: Dispatcher, manifests: Manifests, store: Store, watcher: Watcher, body_timeout: float
    ) -> None:
        self.dispatcher = dispatcher
        self.manifests = manifests
        self.store = store
        self.watcher = watcher
        self.body_timeout = body_timeout
        self._own: dict[str, Callable[[], Awaitable[web.Response]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    def app(self) -> web.Application:
        """The application: one route, since Knative's answers hang on the path's form."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to one request; a failure is a problem."""
        try:
            if request.method in ("GET", "HEAD") and (own := self._own.get(request.path)):
                return await own()
            if request.method == "GET" and request.raw_path.endswith("/events"):
                return await self._tap(request)
            return await self._take(request)
        except KntsError as error:
            return self._refused(error)

    def _refused(self, error: KntsError) -> web.Response:
        self.watcher.refused(error.status)
        log.warning("refused: %s", error.detail, extra={"status": error.status})
        more = ALLOW if isinstance(error, MethodNotAllowed) else {}
        return web.Response(
            status=error.status, body=errors.problem_bytes(error), headers={**errors.headers(error), **more}
        )

    # -- events -------------------------------------------------------------------------------------------------------

    async def _take(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(headers=ANY_ORIGIN)
        if request.method != "POST":
            raise MethodNotAllowed("events are taken by POST")
        broker, trigger = self._addressed(request.raw_path)
        if self.dispatcher.closing:
            raise Temporary("the broker is shutting down", retry_after=2)
        with self.watcher.accepting():
            event = await self._event(request)
            name = f"{broker.namespace}/{broker.name}"
            with (
                telemetry.correlated(event.correlation_id),
                tracing.publishing(event, request.headers, name) as trace,
            ):
                await self._accept(broker, trigger, event, trace)
        return web.Response(status=202)

    async def _accept(self, broker: Broker, trigger: Trigger | None, event: Event, trace: str) -> None:
        arrived = delivery.arrived(delivery.revived(event) if trigger else event, events.now())
        if arrived is None:
            raise BadEvent(f"{delivery.TTL}: the event has no time to live left")
        if trigger is None:
            await self.dispatcher.publish(broker, arrived, trace)
        else:
            await self.dispatcher.replay(broker, trigger, arrived, trace)

    def _addressed(self, raw_path: str) -> tuple[Broker, Trigger | None]:
        """The Broker that a path names, and the Trigger where it is a replay; a query string makes it unknown."""
        parts = raw_path.removesuffix("/").split("/")[1:]
        if raw_path == "/":
            raise NotFound("events go to /<namespace>/<broker>")
        if len(parts) != 2 and not (len(parts) == 4 and parts[2] == "triggers"):
            raise BadRequest("events go to /<namespace>/<broker>, replays to /<namespace>/<broker>/triggers/<trigger>")
        broker = self._broker(*parts[:2])
        if len(parts) == 2:
            return broker, None
        found = next((trigger for trigger in broker.triggers if trigger.name == parts[3]), None)
        if found is None:
            raise NotFound(f"there is no Trigger {parts[3][:80]!r} of {broker.namespace}/{broker.name}")
        return broker, found

    def _broker(self, namespace: str, name: str) -> Broker:
        broker = self.manifests.plan.brokers.get((namespace, name))
        if broker is None:
            raise NotFound(f"there is no Broker {name[:80]!r} in namespace {namespace[:80]!r}")
        return broker

    async def _event(self, request: web.Request) -> Event:
        body = await self._body(request)
        headers = [(name.lower(), value) for name, value in request.raw_headers]
        return events.from_http(headers, body, versions=VERSIONS, check_json=False)

    async def _body(self, request: web.Request) -> bytes:
        expected = request.content_length or (MAX_BODY if request.body_exists else 0)
        roomy = expected > MAX_BODY  # refused unread
        try:
            async with asyncio.timeout(self.body_timeout):
                if not roomy:
                    await room.take(expected)
                roomy = True
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise TooLarge(f"the event has more than {events.MAX_EVENT_BYTES} bytes") from None
        except TimeoutError:
            if not roomy:
                raise Temporary("too many large events are under way", retry_after=1) from None
            raise RequestTimeout(f"the body did not arrive within {self.body_timeout:g} s") from None

    # -- the rest -----------------------------------------------------------------------------------------------------

    async def _healthz(self) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self) -> web.Response:
        """Ready while Redis answers; manifests that could not be taken are told, the earlier ones being in force."""
        if self.dispatcher.closing:
            raise Temporary("the broker is shutting down", retry_after=2)
        await self.store.depths(())
        told = {
            "status": "ready",
            "triggers": sorted(self.manifests.plan.triggers()),
            "generation": self.manifests.generation,
            **({"manifests": self.manifests.fault} if self.manifests.fault else {}),
        }
        return web.json_response(told)

    async def _metrics(self) -> web.Response:
        lanes = list(self.dispatcher.lanes.values())
        depths = await self.store.depths([lane.stream for lane in lanes])
        text = self.watcher.text(lanes, depths) + telemetry.metrics()[0]
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _tap(self, request: web.Request) -> web.StreamResponse:
        parts = request.raw_path.split("/")[1:]
        if len(parts) != 3:
            raise NotFound("the tap is at /<namespace>/<broker>/events")
        broker = self._broker(*parts[:2])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        listener = Listener((broker.namespace, broker.name))
        self.watcher.tap.listeners.add(listener)
        try:
            await response.write(message("listening", {"broker": f"{broker.namespace}/{broker.name}"}))
            while not self.dispatcher.closing:
                await response.write(await listener.next())
        except ConnectionError:
            log.info("a listener has gone")
        finally:
            self.watcher.tap.listeners.discard(listener)
        return response
