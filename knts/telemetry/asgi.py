"""Server spans and metrics around an ASGI app: one span a request however long it streams, none for health routes.

docs/decisions/telemetry.md says why it is not OpenTelemetry's own middleware.
"""

import time
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knts.telemetry import context, measures, spans

UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
ROUTE = "knts.route"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"})
active: dict[str, int] = {}  # requests being answered, by function; the metric reads it
_CARRIED = {b"traceparent": "traceparent", b"tracestate": "tracestate", b"baggage": "baggage"}
_EVENT = {b"ce-traceparent": "traceparent", b"ce-tracestate": "tracestate"}


class ServerSpans:
    """ASGI middleware: continues the caller's trace, or the delivered event's, and measures the request."""

    def __init__(self, app: ASGIApp, function: str) -> None:
        self.app = app
        self.function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request inside its span."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] in UNTRACED:
            with spans.quiet():
                await self.app(scope, receive, send)
            return
        context.function.set(self.function)  # a request runs in a task of its own, so nothing needs to be undone
        request = Request(scope)
        active[self.function] = active.get(self.function, 0) + 1
        with spans.around(request.method, SpanKind.SERVER, request.parent, request.attributes()) as span:
            if request.correlation:
                context.correlate(request.correlation)
            try:
                await self.app(scope, receive, request.noting(send))
            except Exception:
                request.status = request.status or 500  # what the server outside of us answers then
                raise
            finally:
                active[self.function] -= 1
                request.finish(span)


class Request:
    """What is known of one request: read from its scope, and from the response as it passes."""

    def __init__(self, scope: Scope) -> None:
        carried: dict[str, str] = {}
        event: dict[str, str] = {}
        self.correlation = ""
        for name, value in scope["headers"]:
            if name in _CARRIED:
                carried[_CARRIED[name]] = value.decode("latin-1")
            elif name in _EVENT:
                event[_EVENT[name]] = value.decode("latin-1")
            elif name == b"ce-correlationid":
                self.correlation = value.decode("latin-1")[:128]
        self.scope = scope
        self.method = scope["method"] if scope["method"] in METHODS else "HTTP"
        self.parent = _extracted(carried) or _extracted(event) or Context()
        self.started = time.perf_counter()
        self.status = 0

    def attributes(self) -> dict[str, str | int]:
        """What the conventions want to be known when a server span starts; no query, which holds people's questions."""
        scope = self.scope
        server: Any = scope.get("server") or ("", None)
        return {
            "http.request.method": self.method,
            "url.path": scope["path"][:256].encode("utf-8", "backslashreplace").decode(),
            "url.scheme": scope.get("scheme", "http"),
            "server.address": server[0],
            **({"server.port": server[1]} if server[1] else {}),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }

    def noting(self, send: Send) -> Send:
        """`send`, with the response's status noted."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            await send(message)

        return noted

    def finish(self, span: trace.Span) -> None:
        """Name the span by its route and record how long the request took."""
        labels: dict[str, str | int] = {"http.request.method": self.method}
        if self.status:
            labels["http.response.status_code"] = self.status
            span.set_attribute("http.response.status_code", self.status)
        if (template := route(self.scope)) and self.status != 404:
            labels["http.route"] = template
            span.set_attribute("http.route", template)
            span.update_name(f"{self.method} {template}")
        if self.status >= 500:
            labels["error.type"] = str(self.status)
            span.set_attribute("error.type", str(self.status))
            span.set_status(Status(StatusCode.ERROR))
        measures.observe("http.server.request.duration", time.perf_counter() - self.started, labels)


def _extracted(carrier: dict[str, str]) -> Context | None:
    if not carrier:
        return None
    found = propagate.extract(carrier, Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def note_route(scope: Scope, route: str) -> None:
    """Tell the span around this request its route, such as "/v1/answers/{id}", where no Starlette route does."""
    scope[ROUTE] = route


def route(scope: Scope) -> str:
    """The path with its parameters' values replaced by their names: "/v1/answers/{id}".

    functions-framework matches every path as the parameter `path`, so only the inner app's parameters count.
    """
    if ROUTE in scope:
        return str(scope[ROUTE])
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    if mounted:
        return f"{mounted}/{{path}}"
    for name, value in scope.get("path_params", {}).items():
        text = str(value)
        if name != "path" and text and f"/{text}" in path:
            path = path.replace(f"/{text}", f"/{{{name}}}", 1)
    return path
