"""Embeddings of texts by Ollama's `/api/embed`, as Ollama or anything else that speaks it answers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import orjson

from knts import telemetry
from knts.breaker import Breaker
from knts.embeddings import normalised
from knts.errors import Temporary
from knts.settings import ollama_base, seconds, setting

MAX_BODY = 64 * 1024 * 1024
MOST_NUMBERS = 16_384  # of one embedding


class EmbedderAway(Temporary):
    """Nothing that embeds answers, or it answers something else; or it failed so often that it is let rest."""


@dataclass(frozen=True, kw_only=True)
class EmbedServer:
    """Where embeddings come from. Without a model there are none, and search goes by words."""

    model: str = setting("OLLAMA_EMBED_MODEL", "model that embeds; empty: none, search goes by words alone", "")
    embed_url: str = setting(
        "OLLAMA_EMBED_URL", "http(s) URL of the Ollama that embeds; OLLAMA_URL by default", "", parse=ollama_base
    )
    ollama_url: str = setting(
        "OLLAMA_URL",
        "http(s) URL of Ollama, with or without a trailing /api",
        "http://ollama-gpu.ollama.svc.cluster.local:11434",
        parse=ollama_base,
    )
    timeout: float = setting("OLLAMA_EMBED_TIMEOUT", "seconds that one call for passages may take", 60.0, parse=seconds)

    @property
    def url(self) -> str:
        return self.embed_url or self.ollama_url


class Embedder:
    """One server that embeds. An async context manager. Calls raise EmbedderAway."""

    def __init__(self, server: EmbedServer, *, connections: int = 8) -> None:
        self.server = server
        self.connections = connections
        self._breaker = Breaker(most=3, rest=5.0)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.connections, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=self.server.timeout, sock_connect=3.0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        """An embedding for each text, at length 1, within `seconds` (by default the server's time-out)."""
        if wait := self._breaker.wait(time.monotonic()):
            raise EmbedderAway("the embedding model failed several times in a row", retry_after=wait)
        try:
            found = await self._call(model, texts, seconds or self.server.timeout)
        except EmbedderAway:
            self._breaker.failed(time.monotonic())
            telemetry.count("knts.embedder.failures", **{"gen_ai.request.model": model[:128]})
            raise
        self._breaker.succeeded()
        return found

    async def _call(self, model: str, texts: Sequence[str], seconds: float) -> list[list[float]]:
        body = orjson.dumps({"model": model, "input": list(texts), "truncate": True})
        try:
            async with self._session.post(
                f"{self.server.url}/api/embed",
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=3.0),
            ) as response:
                reply = await response.content.read(MAX_BODY + 1)
                while len(reply) <= MAX_BODY and (more := await response.content.read(MAX_BODY)):
                    reply += more
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise EmbedderAway(f"the embedding model is not available: {reason}", retry_after=2) from error
        if status != 200:
            raise EmbedderAway(f"the embedding model answers {status}: {reply[:200].decode('utf-8', 'replace')}")
        return embeddings(reply, len(texts))


def embeddings(reply: bytes, count: int) -> list[list[float]]:
    """The embeddings in an answer. Raises EmbedderAway unless there are `count` of them, of one length."""
    try:
        found: Any = orjson.loads(reply)["embeddings"]
        vectors = [normalised([float(each) for each in vector]) for vector in found]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EmbedderAway("the embedding model answered with something else than embeddings") from error
    lengths = set(map(len, vectors))
    if len(vectors) != count or len(lengths) > 1 or not lengths <= set(range(1, MOST_NUMBERS + 1)):
        raise EmbedderAway(f"the embedding model answered {len(vectors)} embeddings for {count} texts")
    return vectors
