"""The HTTP API: which call is which, and how it is read and answered. `schemas/openapi.yaml` is the contract."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.ingress import chat, chat_answers, completions, cors, parsing
from functions.ingress.access import Principal
from functions.ingress.asks import Event
from functions.ingress.failures import told
from functions.ingress.gate import Gate
from functions.ingress.handler import HEARTBEAT, Ingress, Position
from functions.ingress.limits import MAX_DOCUMENT, MAX_REQUEST, NotAcceptable, body_of, check_headers, chunks_of
from functions.ingress.requests import refuse
from functions.ingress.sse import HEADERS as EVENT_HEADERS
from functions.ingress.sse import MEDIA_TYPE as EVENTS
from functions.ingress.sse import EventStream, encode, resume_from
from knts import channel, telemetry
from knts.errors import KntsError, TooLarge
from knts.events import JSON
from knts.runtime import HEALTH_ROUTES, Check, MethodNotAllowed, health, problem_response
from knts.tasks import ended

log = logging.getLogger(__name__)

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
PLAIN = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

Answer = ASGIApp
Call = Callable[["Api", Request, Principal, str], Awaitable[Answer]]


@dataclass(frozen=True)
class Pace:
    """Seconds: between heartbeats, for a body to arrive, and for a client to take the next event."""

    heartbeat: float = 15.0
    body: float = 10.0
    patience: float = 60.0


@dataclass
class Api:
    """The API as an ASGI app; `page` answers every path that is not the API's."""

    ingress: Ingress
    gate: Gate
    pace: Pace
    ready: Check
    files: Mapping[str, Response]
    page: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        answer = await self.respond(request)
        await answer(scope, receive, send)

    async def respond(self, request: Request) -> Answer:
        """The answer to a request, an RFC 9457 problem where it fails, with the headers that CORS asks for."""
        path = raw_path(request)
        found = match(path)
        if found is None:
            return await self._elsewhere(request, path)
        methods, part, route = found
        telemetry.note_route(request.scope, route)
        if route.startswith("/v1/answers/"):
            telemetry.correlate(part)
        try:
            check_headers(request)
            answer = await self._call(request, methods, part)
        except KntsError as error:
            answer = self._refusal(request, error, methods)
        except Exception:
            log.exception("a bug in ingress")
            answer = self._refusal(request, KntsError("unexpected failure; the log has it"), methods)
        headers = getattr(answer, "headers", None)
        if headers is not None:
            headers.update(cors.allowed(request.headers.get("origin", ""), self.gate.settings.origins))
        return answer

    async def _call(self, request: Request, methods: Mapping[str, Call], part: str) -> Answer:
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            headers = cors.preflight(origin, self.gate.settings.origins)
            return Response(status_code=204, headers={"allow": allow(methods), **headers})
        call = methods.get("GET" if request.method == "HEAD" else request.method)
        if call is None:
            raise MethodNotAllowed(f"{request.method[:20]} is not a method of this path; it takes {allow(methods)}")
        return await call(self, request, self.gate.principal(request), parsing.path_text(part))

    async def _elsewhere(self, request: Request, path: str) -> Answer:
        if path in HEALTH_ROUTES or path in self.files:
            if request.method not in ("GET", "HEAD"):
                return self._refusal(request, MethodNotAllowed("this path is only for reading"), ["GET"])
            return self.files.get(path) or await health(path, self.ready)
        if path == "/v1" or path.startswith("/v1/"):
            return self._refusal(request, completions.no_such_path(raw_path(request)), [])
        return self.page

    @staticmethod
    def _refusal(request: Request, error: KntsError, methods: Iterable[str]) -> Response:
        log.info("refused: %s", error.detail, extra={"status": error.status, "method": request.method})
        response = completions.refusal(error) if completions.speaks(raw_path(request)) else problem_response(error)
        response.headers.update(PLAIN)
        if isinstance(error, MethodNotAllowed):
            response.headers["allow"] = allow(methods)
        if isinstance(error, TooLarge) or error.status in (408, 431):
            response.headers["connection"] = "close"  # the rest of the body is not waited for
        return response

    # -- search -------------------------------------------------------------------------------------------------------

    async def get_search(self, request: Request, who: Principal, _: str) -> Answer:
        return reply(await self.ingress.search(who, parsing.search_query(request.scope["query_string"])))

    async def post_search(self, request: Request, who: Principal, _: str) -> Answer:
        return reply(await self.ingress.search(who, await self._json(request, MAX_REQUEST)))

    # -- answers ------------------------------------------------------------------------------------------------------

    async def post_answer(self, request: Request, who: Principal, _: str) -> Answer:
        """A stream, the finished answer or its address, by what the client accepts and prefers."""
        asked = await self._json(request, MAX_REQUEST)
        if parsing.prefers_async(request.headers.get("prefer")):
            ask_id = await self.ingress.ask(who, asked, listening=False)
            headers = {"location": f"/v1/answers/{ask_id}", "preference-applied": "respond-async"}
            return reply({"id": ask_id, "status": "running"}, 202, headers)
        streams = wants_stream(request)
        begun = await self.ingress.begin(who, asked)
        if begun.events:
            return whole_stream(begun.id, begun.events) if streams else reply(begun.events[-1][2])
        if streams:
            return await self._stream(who, begun.id, Position())
        return await self._gather(request, who, begun.id)

    async def _stream(self, who: Principal, ask_id: str, after: Position) -> Answer:
        events = self.ingress.follow(who, ask_id, after, heartbeat=self.pace.heartbeat)
        try:
            first = await anext(events)
        except StopAsyncIteration:
            return Response(status_code=204)  # all was read before: a browser need not come again
        return EventStream(first, events, patience=self.pace.patience, headers=located(ask_id))

    async def _gather(self, request: Request, who: Principal, ask_id: str) -> Answer:
        """The finished answer; a client that goes away is not waited for, so that the flight may notice."""
        gathering = asyncio.create_task(last_of(self.ingress.follow(who, ask_id, Position())))
        leaving = asyncio.create_task(gone(request))
        try:
            await asyncio.wait({gathering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not gathering.done():
                return Response(status_code=204)
            event_type, answer = gathering.result()
        finally:
            await ended(gathering, leaving)
        if event_type == channel.FAILED:
            raise told(answer, id=ask_id)
        return reply(answer)

    async def get_answer(self, request: Request, who: Principal, ask_id: str) -> Answer:
        parsing.query_pairs(request.scope["query_string"], once=())
        answer = await self.ingress.answer(who, ask_id)
        if answer is None:
            return reply({"id": ask_id, "status": "running"}, 202, {"retry-after": "1"})
        return reply(answer)

    async def get_events(self, request: Request, who: Principal, ask_id: str) -> Answer:
        given = parsing.query_pairs(request.scope["query_string"], once=("lastEventId", "last_event_id"))
        named = [request.headers.get("last-event-id"), *(values[0] for values in given.values())]
        after = resume_from(next((name for name in named if name), None))
        return await self._stream(who, ask_id, after)

    async def delete_answer(self, request: Request, who: Principal, ask_id: str) -> Answer:
        await self.ingress.cancel(who, ask_id)
        return Response(status_code=204)

    # -- conversations ------------------------------------------------------------------------------------------------

    async def get_conversation(self, request: Request, who: Principal, conversation_id: str) -> Answer:
        parsing.query_pairs(request.scope["query_string"], once=())
        return reply(await self.ingress.conversation(who, conversation_id))

    async def delete_conversation(self, request: Request, who: Principal, conversation_id: str) -> Answer:
        await self.ingress.forget_conversation(who, conversation_id)
        return Response(status_code=204)

    # -- chat completions ---------------------------------------------------------------------------------------------

    async def post_chat(self, request: Request, who: Principal, _: str) -> Answer:
        body = await self._json(request, completions.MAX_CHAT)
        return await completions.answer(self.ingress, request, who, body, self.pace.heartbeat, self.pace.patience)

    async def get_models(self, request: Request, who: Principal, _: str) -> Answer:
        return reply(chat_answers.models(await self.ingress.offered.names()))

    async def get_model(self, request: Request, who: Principal, name: str) -> Answer:
        if name != chat.DEFAULT:
            await self.ingress.offered.find(name)
        return reply(chat_answers.model(name))

    # -- documents ----------------------------------------------------------------------------------------------------

    async def put_document(self, request: Request, who: Principal, document_id: str) -> Answer:
        document = await self._json(request, MAX_DOCUMENT)
        return reply(await self.ingress.put_document(who, document_id, document), 202)

    async def delete_document(self, request: Request, who: Principal, document_id: str) -> Answer:
        given = parsing.query_pairs(request.scope["query_string"], once=("version",))
        version = parsing.whole(given["version"][0], "version") if "version" in given else None
        return reply(await self.ingress.delete_document(who, document_id, version), 202)

    async def get_document(self, request: Request, who: Principal, document_id: str) -> Answer:
        given = parsing.query_pairs(request.scope["query_string"], once=("include",))
        if given.get("include", ["text"]) != ["text"]:
            refuse([{"field": "include", "rule": "must be text"}])
        return reply(await self.ingress.document(who, document_id, text="include" in given))

    async def get_documents(self, request: Request, who: Principal, _: str) -> Answer:
        given = parsing.query_pairs(request.scope["query_string"], once=("after", "limit"))
        limit = parsing.whole(given["limit"][0], "limit") if "limit" in given else 100
        return reply(await self.ingress.documents(who, after=given.get("after", [""])[0], limit=limit))

    async def post_documents(self, request: Request, who: Principal, _: str) -> Answer:
        parsing.check_media(request.headers.get("content-type"), NDJSON)
        lines = parsing.ndjson_lines(chunks_of(request, self.pace.body), MAX_DOCUMENT)
        return reply(await self.ingress.load(who, lines), 202)

    async def _json(self, request: Request, limit: int) -> dict[str, Any]:
        parsing.check_media(request.headers.get("content-type"), (JSON,))
        return parsing.json_object(await body_of(request, limit, self.pace.body))


CALLS: list[tuple[re.Pattern[str], Mapping[str, Call]]] = [
    (re.compile(r"/v1/search"), {"GET": Api.get_search, "POST": Api.post_search}),
    (re.compile(r"/v1/answers"), {"POST": Api.post_answer}),
    (re.compile(r"/v1/answers/([^/]+)"), {"GET": Api.get_answer, "DELETE": Api.delete_answer}),
    (re.compile(r"/v1/answers/([^/]+)/events"), {"GET": Api.get_events}),
    (re.compile(r"/v1/conversations/([^/]+)"), {"GET": Api.get_conversation, "DELETE": Api.delete_conversation}),
    (re.compile(r"/v1/chat/completions"), {"POST": Api.post_chat}),
    (re.compile(r"/v1/models"), {"GET": Api.get_models}),
    (re.compile(r"/v1/models/(.+)"), {"GET": Api.get_model}),
    (re.compile(r"/v1/documents"), {"GET": Api.get_documents, "POST": Api.post_documents}),
    (
        re.compile(r"/v1/documents/(.+)", re.DOTALL),
        {"GET": Api.get_document, "PUT": Api.put_document, "DELETE": Api.delete_document},
    ),
]


def match(path: str) -> tuple[Mapping[str, Call], str, str] | None:
    """The methods of a raw path, the part of it that names something, still encoded, and its route: `{id}` there."""
    for pattern, methods in CALLS:
        if found := pattern.fullmatch(path):
            part = found[1] if pattern.groups else ""
            return methods, part, path[: found.start(1)] + "{id}" + path[found.end(1) :] if part else path
    return None


def allow(methods: Iterable[str]) -> str:
    """The Allow header of a path."""
    named = list(methods)
    return ", ".join([*named, *(["HEAD"] if "GET" in named else []), "OPTIONS"])


def raw_path(request: Request) -> str:
    """The path as it was sent, still encoded: decoding first would lose which percent signs belong to an id."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    return bytes(raw).split(b"?")[0].decode("latin-1")


def wants_stream(request: Request) -> bool:
    """Whether events are wanted, rather than JSON. Raises NotAcceptable where neither is."""
    accept = request.headers.get("accept")
    stream, whole = parsing.accepts(accept, EVENTS), parsing.accepts(accept, JSON)
    if not stream and not whole:
        raise NotAcceptable(f"the answer can be had as {EVENTS} or {JSON}")
    return stream >= whole and EVENTS in (accept or "").lower()


def located(ask_id: str) -> dict[str, str]:
    """Where an answer will be found."""
    return {"content-location": f"/v1/answers/{ask_id}"}


def whole_stream(ask_id: str, events: Iterable[Event]) -> Response:
    """All events of an answer that was known already."""
    return Response(b"".join(encode(*event) for event in events), headers={**EVENT_HEADERS, **located(ask_id)})


async def last_of(events: AsyncIterator[tuple[str, str, dict[str, Any]]]) -> tuple[str, dict[str, Any]]:
    """Type and data of the last event."""
    last: tuple[str, dict[str, Any]] = ("", {})
    async for _, event_type, data in events:
        if event_type != HEARTBEAT:
            last = (event_type, data)
    return last


async def gone(request: Request) -> None:
    """Return when the client has gone; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def reply(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response that nobody stores."""
    return Response(orjson.dumps(body), status, {**PLAIN, **(headers or {})}, media_type=JSON)
