"""Ollama's HTTP API over the engine: NDJSON lines, error bodies, and a closed connection that stops generation."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from knts.local.model import NAME, words
from knts.local.model.engine import Engine, chunks
from knts.local.model.words import Ask, Progress, Refused

T = TypeVar("T")

VERSION = "0.17.4"  # the Ollama that `make test-ollama` holds this against
MAX_PENDING = 512  # Ollama's default OLLAMA_MAX_QUEUE
QUANTIZATION = {2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 15: "Q4_K_M"}  # by general.file_type
TEMPLATE = (  # in Ollama's words what llama.cpp does here: an answer at the end is left open, to be gone on with
    "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}"
    "<|im_start|>{{ .Role }}\n{{ .Content }}"
    '{{- if not (and $last (eq .Role "assistant")) }}<|im_end|>\n{{ end }}'
    '{{- if and $last (ne .Role "assistant") }}<|im_start|>assistant\n{{ end }}'
    "{{- end }}"
)
STOP = ("<|im_start|>", "<|im_end|>")


class Json(JSONResponse):
    """JSON with the media type as Ollama writes it."""

    media_type = "application/json; charset=utf-8"


class Api:
    """The routes and what they share: the engine, its session and the number of asks under way."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.session: aiohttp.ClientSession | None = None
        self.pending = 0

    def app(self) -> Starlette:
        """The ASGI app."""
        routes = [
            Route("/", self.greeting),
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/ps", self.running),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/chat", self.chat, methods=["POST"]),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
            Route("/api/embeddings", self.embed, methods=["POST"]),
        ]
        said = {Refused: refusal, 404: _plain("404 page not found"), 405: _plain("405 method not allowed")}
        return Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=said)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self.engine.session() as self.session:
            yield

    async def greeting(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return Json({"version": VERSION})

    async def tags(self, _: Request) -> Response:
        return Json({"models": [self._model()]})

    async def running(self, _: Request) -> Response:
        expires = (datetime.now(UTC) + timedelta(days=365)).isoformat().replace("+00:00", "Z")
        size = self.engine.path.stat().st_size
        more = {"expires_at": expires, "size_vram": 0, "context_length": self.engine.context, "size": size}
        listed = self._model()
        del listed["modified_at"]
        return Json({"models": [listed | more]})

    async def show(self, request: Request) -> Response:
        body = await read_json(request)
        self._know(body.get("model") or body.get("name"))
        return Json(
            {
                "modelfile": f"FROM {self.engine.path.name}\n",
                "parameters": "\n".join(f'{"stop":<30} "{mark}"' for mark in STOP),
                "template": TEMPLATE,
                "details": self._details(),
                "model_info": self.engine.info,
                "capabilities": ["completion"],
                "modified_at": self._modified(),
            }
        )

    async def embed(self, request: Request) -> Response:
        body = await read_json(request)
        self._know(body.get("model"))
        raise Refused(501, "this model does not support embeddings")

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, words.chat_ask)

    async def generate(self, request: Request) -> Response:
        return await self._answer(request, words.generate_ask)

    async def _answer(self, request: Request, read: Callable[[dict[str, Any]], Ask]) -> Response:
        ask = read(await read_json(request))
        self._know(ask.model)
        if ask.empty:
            return Json(words.loaded_line(ask))
        if self.pending >= MAX_PENDING:
            raise Refused(503, "server busy, please try again.  maximum pending requests exceeded")
        lines = self._lines(ask)
        if not ask.stream:
            return Json(await unless_gone(request.receive, _whole(ask, lines)))
        return Lines(await unless_gone(request.receive, _next(lines)), lines)

    async def _lines(self, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        assert self.session is not None  # noqa: S101 - the lifespan opened it
        progress, began = Progress(), time.monotonic_ns()
        self.pending += 1
        try:
            async with contextlib.aclosing(chunks(self.session, ask.path, ask.payload)) as stream:
                async for chunk in stream:
                    if text := progress.feed(chunk):
                        yield words.text_line(ask, text)
            yield words.done_line(ask, progress, time.monotonic_ns() - began)
        finally:
            self.pending -= 1

    def _know(self, model: Any) -> None:
        if not model or not isinstance(model, str):
            raise Refused(400, "model is required")
        if words.plain_name(model) != NAME:
            raise Refused(404, f"model '{model[:200]}' not found")

    def _model(self) -> dict[str, Any]:
        size = self.engine.path.stat().st_size
        return {
            "name": NAME,
            "model": NAME,
            "modified_at": self._modified(),
            "size": size,
            "digest": self.engine.digest,
            "details": self._details(),
        }

    def _modified(self) -> str:
        return datetime.fromtimestamp(self.engine.path.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z")

    def _details(self) -> dict[str, Any]:
        info = self.engine.info
        family = str(info.get("general.architecture", "llama"))
        return {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": "134.52M",
            "quantization_level": QUANTIZATION.get(info.get("general.file_type", -1), "unknown"),
        }


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. It is cancelled, and ClientDisconnect raised, when the client closes its connection first."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait([task, gone])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Lines(Response):
    """A stream of NDJSON lines whose generation stops as soon as the client is gone."""

    media_type = "application/x-ndjson"

    def __init__(self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any], None]) -> None:
        super().__init__(None)
        del self.headers["content-length"]
        self.first, self.rest = first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientDisconnect):
            await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with contextlib.aclosing(_ndjson(self.first, self.rest)) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def read_json(request: Request) -> dict[str, Any]:
    """The body. Raises Refused(400) for what is no JSON object."""
    text = await request.body()
    if not text.strip():
        raise Refused(400, "missing request body")
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Refused(400, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    return body


async def _next(lines: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await anext(lines)


async def _whole(ask: Ask, lines: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    every = [line async for line in lines]
    text = "".join(words.text_of(line) for line in every)
    return every[-1] | words.said(ask.kind, text)


async def _ndjson(first: dict[str, Any], lines: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    yield json.dumps(first).encode() + b"\n"
    try:
        async for line in lines:
            yield json.dumps(line).encode() + b"\n"
    except Refused as error:  # the status is sent already: Ollama says it in a line
        yield json.dumps({"error": str(error)}).encode() + b"\n"


async def refusal(_: Request, error: Exception) -> Response:
    """The error's body as Ollama writes it."""
    status = error.status if isinstance(error, Refused) else 500
    return Json({"error": str(error)}, status_code=status)


def _plain(text: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def say(_: Request, error: Exception) -> Response:
        return Response(text, getattr(error, "status_code", 404), {"content-type": "text/plain"})

    return say
