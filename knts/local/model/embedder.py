"""`python -m knts.local.model.embedder`: the packaged embedding model behind Ollama's API, until SIGTERM.

A process of its own, so that it is there beside a user's Ollama too. A short text, as a search asks for it, does not
wait for passages, which take what CPU is left: they have threads of their own, which yield to everything else.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from knts.local.model.api import VERSION, read_json, refusal, unless_gone
from knts.local.model.minilm import DIMENSION, NAME, MiniLM
from knts.local.model.words import Refused
from knts.local.process import LocalError
from knts.settings import SettingsError, read, setting, tcp_port

MOST_TEXTS = 512  # of one request
SHORT = 300  # characters of a request that is answered beside longer ones
NICE = 10  # of 19: about a tenth of the CPU where others want it
MOST_PENDING = 128  # requests, as Ollama has a bound on its queue


@dataclass(frozen=True)
class EmbedderSettings:
    """Where it listens."""

    port: int = setting("PORT", "TCP port to listen on", 11434, parse=tcp_port)
    host: str = setting("KNTS_HOST", "address to listen on", "127.0.0.1")


class Embedder:
    """The routes over the model."""

    def __init__(self, model: MiniLM) -> None:
        self.model = model
        self.short = ThreadPoolExecutor(1)
        self.long = ThreadPoolExecutor(os.cpu_count() or 1, initializer=yield_to_others)
        self.pending = 0

    def app(self) -> Starlette:
        """The ASGI app."""
        routes = [
            Route("/", self.greeting),
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
            Route("/api/chat", self.answer, methods=["POST"]),
            Route("/api/generate", self.answer, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={Refused: refusal})

    async def greeting(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def tags(self, _: Request) -> Response:
        size = self.model.path.stat().st_size
        named = {"name": NAME, "model": NAME, "modified_at": self.model.modified.isoformat(), "size": size}
        return JSONResponse({"models": [named | {"digest": self.model.digest, "details": self._details()}]})

    async def show(self, request: Request) -> Response:
        body = await read_json(request)
        _know(body.get("model") or body.get("name"))
        info = {"general.architecture": "bert", "bert.embedding_length": DIMENSION, "bert.context_length": 256}
        info["bert.pooling_type"] = 1  # the mean of all tokens
        return JSONResponse({"details": self._details(), "model_info": info, "capabilities": ["embedding"]})

    async def embed(self, request: Request) -> Response:
        """The vectors of one text or a list of them; they are cut to what the model reads, as Ollama does it."""
        body, began = await read_json(request), time.monotonic_ns()
        _know(body.get("model"))
        texts = _texts(body.get("input"))
        if self.pending >= MOST_PENDING:
            raise Refused(503, "server busy, please try again.  maximum pending requests exceeded")
        self.pending += 1
        try:
            found = await unless_gone(request.receive, self._embedded(texts))
        finally:
            self.pending -= 1
        answer = {
            "model": NAME,
            "embeddings": [vector for vector, _ in found],
            "total_duration": time.monotonic_ns() - began,
            "load_duration": 0,
            "prompt_eval_count": sum(tokens for _, tokens in found),
        }
        return Response(orjson.dumps(answer), media_type="application/json")

    async def answer(self, request: Request) -> Response:
        """It writes no text."""
        body = await read_json(request)
        _know(body.get("model"))
        raise Refused(400, f'"{body["model"]}" does not support {request.url.path.rsplit("/", 1)[-1]}')

    async def _embedded(self, texts: Sequence[str]) -> list[tuple[list[float], int]]:
        threads = self.short if sum(map(len, texts)) <= SHORT else self.long
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(threads, self.model.embed, text) for text in texts]

    def _details(self) -> dict[str, Any]:
        return {"format": "onnx", "family": "bert", "parameter_size": "22M", "quantization_level": "int8"}


def yield_to_others() -> None:
    """Let this thread run where no other wants the CPU (on Linux, niceness is a thread's own)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _know(model: object) -> None:
    if not model:
        raise Refused(400, "model is required")
    if str(model).lower() not in (NAME, "all-minilm", "all-minilm:latest"):
        raise Refused(404, f"model '{str(model)[:200]}' not found")


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "input must be a string or a list of strings")
    if len(texts) > MOST_TEXTS:
        raise Refused(400, f"input must hold at most {MOST_TEXTS} texts")
    return texts


def main() -> None:
    """Load and serve; a bad setting or a missing package ends the process with a sentence and status 2."""
    try:
        settings = read(EmbedderSettings, os.environ)
        model = MiniLM()
    except (SettingsError, LocalError) as error:
        print(f"knts embedder: {error}", file=sys.stderr)
        sys.exit(2)
    uvicorn.run(
        Embedder(model).app(), host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main()
