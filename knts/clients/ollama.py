"""Ollama: which model there is, and its answers as a stream. Only Ollama's documented API is spoken.

Whatever comes from upstream is checked for size and form. A stream counts as finished only when it says `done: true`:
one that breaks off raises, however it breaks.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson

from knts import telemetry
from knts.breaker import Breaker
from knts.errors import Permanent, Temporary
from knts.line import model_name
from knts.settings import OllamaServer, positive_int, seconds, setting

log = logging.getLogger(__name__)

MAX_LINE = 256 * 1024  # bytes of one NDJSON line
MAX_BODY = 16 * 1024 * 1024  # bytes of an answer that is not streamed: a list of models, a model's description
MAX_TEXT = 400_000  # characters of one answer
AT_ONCE = 8  # descriptions of models that are asked for
NAMED = 20  # models that are named where another one was asked for
FIRST = "the first token"
TOO_LONG = "exceeds the context length"  # what it says to a prompt that must not be cut and does not fit
REFUSES = (0, 17)  # the version from which it is known to say so (`make test-ollama`); earlier ones may cut it silently
_BUSY = frozenset({429, 502, 503, 504})
_CRASHED = 500  # to a chat: the model can't be loaded or its process has died; Ollama starts another one
_DURATION = re.compile(r"-?(\d+|(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+)")
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})")
COUNTING = (
    {"role": "user", "content": "Count from one to ten in words."},
    {"role": "assistant", "content": "one, two, three, four, five,"},
)
COUNTED = " six"
PROBE = {"temperature": 0.0, "num_predict": 4}


class UnknownModel(Permanent):
    """Ollama does not have the model."""


class PromptTooLong(Permanent):
    """The prompt has more tokens than the context, and was not cut: nothing has come of the call."""


class CannotAnswer(UnknownModel):
    """Ollama has the model, but it writes no text: it embeds, say."""


class OllamaAway(Temporary):
    """Ollama can't be reached, is busy, its model crashed, or is let rest; nothing has come of the call."""


class StreamBroken(Permanent):
    """The model stopped in mid-answer: what it wrote is not an answer."""


class NoFirstToken(StreamBroken):
    """The model took too long to begin: nothing has come, and as much time is gone as one call may take."""


def duration(text: str) -> str:
    """How long, as Ollama takes it: 30m, 1h30m, a number of seconds, or less than 0 for ever."""
    if not _DURATION.fullmatch(text):
        raise ValueError("expected a duration such as 30m, a number of seconds, or -1 for ever")
    return text


@dataclass(frozen=True, kw_only=True)
class OllamaLimits:
    """How long Ollama may take, and how much is asked of it at once."""

    connect: float = setting("OLLAMA_CONNECT_TIMEOUT", "seconds to connect to Ollama", 5.0, parse=seconds)
    first_token: float = setting(
        "OLLAMA_FIRST_TOKEN_TIMEOUT",
        "seconds to the first token, loading the model and reading the prompt included",
        90.0,
        parse=seconds,
    )
    idle: float = setting("OLLAMA_IDLE_TIMEOUT", "seconds between two tokens", 30.0, parse=seconds)
    total: float = setting("OLLAMA_TOTAL_TIMEOUT", "seconds for a whole answer", 180.0, parse=seconds)
    connections: int = setting(
        "OLLAMA_CONNECTIONS", "connections to Ollama that one replica opens at most", 32, parse=positive_int
    )
    keep_alive: str = setting(
        "OLLAMA_KEEP_ALIVE",
        "how long Ollama keeps a model loaded after its last answer, such as 30m or -1",
        "30m",
        parse=duration,
    )
    failures: int = setting(
        "OLLAMA_BREAKER_FAILURES",
        "calls of a model that fail in a row until none is made for a while",
        5,
        parse=positive_int,
    )
    rest: float = setting("OLLAMA_BREAKER_REST", "seconds until one call is tried then", 15.0, parse=seconds)
    model_cache: float = setting(
        "OLLAMA_MODEL_CACHE", "seconds for which a model's digest and context length are believed", 300.0, parse=seconds
    )


@dataclass(frozen=True)
class Model:
    """A model as Ollama describes it: its digest changes with its weights, template and parameters."""

    name: str
    digest: str
    context: int  # tokens, prompt and answer together
    refuses: bool = False  # whether its server refuses a prompt that is too long, and never cuts it


@dataclass(frozen=True)
class Done:
    """The end of an answer: why it ended ('stop', or 'length' when it was cut) and its tokens."""

    reason: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        """The tokens by the names that answers give them."""
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}


class Ollama:
    """One Ollama server. Use as an async context manager: it holds a connection pool."""

    def __init__(self, server: OllamaServer, limits: OllamaLimits | None = None) -> None:
        self.url = server.url
        self.default_model = server.model
        self.limits = limits or OllamaLimits()
        self._models: dict[str, tuple[float, Model]] = {}
        self._writing: dict[tuple[str, str], bool] = {}  # by name and digest
        self._breakers: dict[str, Breaker] = {}

    async def __aenter__(self) -> "Ollama":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.limits.connections),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ready(self) -> None:
        """Raises OllamaAway unless Ollama answers."""
        await self._call("GET", "/api/version")

    async def listed(self) -> dict[str, bool]:
        """All models that there are, as Ollama orders them, and whether each can answer. Raises OllamaAway.

        One that is not described just now is taken for one that can.
        """
        models = [each for each in _models(await self._call("GET", "/api/tags")) if each.get("name")]
        gate = asyncio.Semaphore(AT_ONCE)

        async def described(listed: Mapping[str, Any]) -> bool:
            async with gate:
                return await self._writes(str(listed["name"]), str(listed.get("digest", "")))

        able = await asyncio.gather(*map(described, models))
        return {str(each["name"]): can for each, can in zip(models, able, strict=True)}

    async def _writes(self, name: str, digest: str) -> bool:
        if (known := self._writing.get((name, digest))) is not None:
            return known
        try:
            can = writes(await self._call("POST", "/api/show", {"model": name}))
        except (OllamaAway, Permanent) as error:
            log.info("a model is listed without its description: %s", error.detail, extra={"model": name})
            return True
        self._writing[name, digest] = can
        return can

    async def model(self, name: str | None = None) -> Model:
        """The model of that name, or the default one. Raises UnknownModel, CannotAnswer, or OllamaAway.

        While it is away, what was last known of a model is believed, so that cached answers can still be served.
        """
        name = name or self.default_model
        until, known = self._models.get(name, (0.0, None))
        if known and time.monotonic() < until:
            return known
        try:
            listed = await self._call("GET", "/api/tags")
            shown = await self._shown(name, listed)
            refuses = await self._refuses()
        except OllamaAway:
            if known:  # cached answers of this model can still be served
                log.warning("Ollama is away; believing what was last known of its model", extra={"model": name})
                return known
            raise
        if not writes(shown):
            raise CannotAnswer(f"the model {name[:100]!r} can't answer: it writes no text")
        found = replace(describe(name, shown, listed), refuses=refuses)
        self._models[name] = (time.monotonic() + self.limits.model_cache, found)
        return found

    async def _refuses(self) -> bool:
        """Whether a prompt that is too long is refused, by the server's version; where it tells none, it is not."""
        try:
            version = str((await self._call("GET", "/api/version")).get("version"))
        except Permanent:
            return False
        numbers = _VERSION.match(version)
        return numbers is not None and (int(numbers[1]), int(numbers[2])) >= REFUSES

    async def _shown(self, name: str, listed: Mapping[str, Any]) -> dict[str, Any]:
        """A model's description. Raises UnknownModel: Ollama says 404, or 400 or 500 to what can't be a name."""
        try:
            shown = await self._call("POST", "/api/show", {"model": name})
        except Permanent as error:
            names = _names(listed)
            if not isinstance(error, UnknownModel) and model_name(name).lower() in map(str.lower, names):
                raise
            there = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
            raise UnknownModel(f"the model {name[:100]!r} is unknown; there is {there or 'none'}") from error
        return shown

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        options: Mapping[str, Any],
        format: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[str | Done, None]:
        """The answer's pieces of text as they come, and a `Done` as the last item. Closing it closes the connection.

        Where the last message is the assistant's, a model that `continues` goes on with it. With a JSON Schema as
        `format` the model can write nothing else than JSON of that form, as far as Ollama follows the schema.

        Raises OllamaAway (no connection, Ollama is busy, or the model failed so often that it is let rest; nothing has
        come yet), UnknownModel, PromptTooLong, StreamBroken (it broke off, failed or was too slow) or another Permanent
        (Ollama refuses the request).
        """
        breaker = self._breaker(model)
        if wait := breaker.wait(time.monotonic()):
            raise OllamaAway(f"the model {model[:100]!r} failed {breaker.failures} times in a row", retry_after=wait)
        try:
            async with contextlib.aclosing(self._chat(model, messages, options, format)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Done):
                        self._closed(model, breaker)
                    yield piece
        except (OllamaAway, StreamBroken):
            self._failed(model, breaker)
            raise
        except Permanent:
            self._closed(model, breaker)  # it refuses this request, so it is there
            raise

    def _breaker(self, model: str) -> Breaker:
        if model not in self._breakers:
            self._breakers[model] = Breaker(self.limits.failures, self.limits.rest)
            telemetry.count("knts.model.rests", 0, **_label(model))  # so that the first rest is seen as an increase
        return self._breakers[model]

    def _closed(self, model: str, breaker: Breaker) -> None:
        if breaker.open:
            log.info("the model answers again", extra={"model": model})
        breaker.succeeded()

    def _failed(self, model: str, breaker: Breaker) -> None:
        before = breaker.open
        breaker.failed(time.monotonic())
        if breaker.open and not before:
            log.warning("the model is let rest for %g s", breaker.rest, extra={"model": model})
            telemetry.count("knts.model.rests", **_label(model))

    async def continues(self, model: str, context: int) -> bool:
        """Whether the model goes on with an answer that it is given the beginning of, rather than begin another.

        That is a matter of its template, so it is tried: a model that begins a turn of its own does not begin it with a
        space and the next number. `context` is the `num_ctx` of its answers: Ollama loads a model anew for another one.
        Raises what `chat` raises.
        """
        text = ""
        async with contextlib.aclosing(self.chat(model, COUNTING, {**PROBE, "num_ctx": context})) as said:
            async for piece in said:
                text += piece if isinstance(piece, str) else ""
        log.info("probed a model", extra={"model": model, "said": text[:40]})
        return text.startswith(COUNTED)

    async def _chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        options: Mapping[str, Any],
        format: Mapping[str, Any] | None,
    ) -> AsyncGenerator[str | Done, None]:
        body = {"model": model, "messages": list(messages), "options": dict(options), "stream": True}
        body["keep_alive"] = keep_alive(self.limits.keep_alive)
        body["truncate"] = body["shift"] = False  # else what is too long is left out, before or while it writes
        body["think"] = False  # a model that can think does so otherwise, and has no tokens left to answer with
        if format is not None:
            body["format"] = dict(format)
        end = time.monotonic() + self.limits.total
        patience, what = self.limits.first_token, FIRST
        size = 0
        with telemetry.model_call(model, url=self.url) as call:
            async with contextlib.aclosing(self._lines("/api/chat", body)) as lines:
                while (line := await _next(lines, patience, what, end)) is not None:
                    patience, what = self.limits.idle, "the next token"
                    text, done = read_line(line)
                    size += len(text)
                    if size > MAX_TEXT:
                        raise StreamBroken(f"the model wrote more than {MAX_TEXT} characters")
                    if text:
                        call.first_token()
                        yield text
                    if done:
                        call.finished(done.usage, [done.reason])
                        yield done
                        return
            if not size:
                raise OllamaAway("the model's stream ended before its first token", retry_after=2)
            raise StreamBroken("the model's stream ended before it was done")

    async def _lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """The NDJSON lines of a streamed answer; a last line without its line feed is no line."""
        started = False
        try:
            async with self._session.post(self.url + path, json=body) as response:
                try:
                    if response.status == _CRASHED:
                        said = _reason(await _body(response))
                        raise OllamaAway(f"the model failed before its first token: {said}", retry_after=2)
                    await _check(response, str(body.get("model")))
                    rest = b""
                    async for block in response.content.iter_any():
                        *whole, rest = (rest + block).split(b"\n")
                        if max(map(len, [*whole, rest])) > MAX_LINE:
                            raise StreamBroken(f"the model's stream has a line of more than {MAX_LINE} bytes")
                        for line in whole:
                            started = True
                            yield line
                finally:
                    response.close()  # not returned to the pool: closing is what stops the generation
        except (aiohttp.ClientError, OSError) as error:
            if started:
                raise StreamBroken(f"the connection to the model broke: {_name(error)}") from error
            raise OllamaAway(f"Ollama is not available: {_name(error)}", retry_after=2) from error

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call that is answered by one JSON object."""
        try:
            async with asyncio.timeout(self.limits.connect + 10):
                async with self._session.request(method, self.url + path, json=body) as response:
                    await _check(response, str((body or {}).get("model")))
                    answer = orjson.loads(await _body(response))
        except TimeoutError as error:
            raise OllamaAway(f"Ollama did not answer {path} in time", retry_after=2) from error
        except (aiohttp.ClientError, OSError) as error:
            raise OllamaAway(f"Ollama is not available: {_name(error)}", retry_after=2) from error
        except orjson.JSONDecodeError as error:
            raise OllamaAway(f"Ollama answered {path} with something else than JSON", retry_after=5) from error
        if not isinstance(answer, dict):
            raise OllamaAway(f"Ollama answered {path} with something else than an object", retry_after=5)
        return answer


def writes(shown: Mapping[str, Any]) -> bool:
    """Whether a model writes text, by its answer of /api/show.

    Ollama says so in `capabilities` since 0.6.4; before, a model that embeds is known by how it pools, or its family.
    """
    if isinstance(capabilities := shown.get("capabilities"), list):
        return "completion" in capabilities
    info, details = shown.get("model_info"), shown.get("details")
    pools = isinstance(info, dict) and any(key.endswith(".pooling_type") for key in info)
    return not pools and "bert" not in str(details.get("family", "") if isinstance(details, dict) else "")


def describe(name: str, shown: Mapping[str, Any], listed: Mapping[str, Any]) -> Model:
    """A model from the answers of /api/show and /api/tags.

    Without a digest in the list, as behind some proxies, one is made of the description.
    """
    tagged = model_name(name)
    digest = ""
    for each in _models(listed):
        if str(each.get("name", "")).lower() == tagged.lower():
            digest = str(each.get("digest", ""))
    if not digest:
        lasting = {key: value for key, value in shown.items() if key != "modified_at"}
        digest = hashlib.sha256(orjson.dumps(lasting, option=orjson.OPT_SORT_KEYS)).hexdigest()
    info = shown.get("model_info")
    lengths = [
        value
        for key, value in (info.items() if isinstance(info, dict) else ())
        if key.endswith(".context_length") and isinstance(value, int)
    ]
    return Model(name, digest.removeprefix("sha256:"), max(lengths, default=4096))


def _models(listed: Mapping[str, Any]) -> list[dict[str, Any]]:
    models = listed.get("models")
    return [each for each in models if isinstance(each, dict)] if isinstance(models, list) else []


def _names(listed: Mapping[str, Any]) -> list[str]:
    return [str(each.get("name"))[:100] for each in _models(listed) if each.get("name")]


def read_line(line: bytes) -> tuple[str, Done | None]:
    """The text of one line of a chat stream, and its end when it says so. Raises StreamBroken for anything else."""
    try:
        chunk = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise StreamBroken("the model's stream has a line that is not JSON") from error
    if not isinstance(chunk, dict):
        raise StreamBroken("the model's stream has a line that is not an object")
    if "error" in chunk:
        raise StreamBroken(f"the model failed: {str(chunk['error'])[:300]}")
    message = chunk.get("message")
    text = message.get("content", "") if isinstance(message, dict) else ""
    if not isinstance(text, str):
        raise StreamBroken("the model's stream has a message whose content is not text")
    if chunk.get("done") is not True:
        return text, None
    return text, Done(
        str(chunk.get("done_reason", "stop"))[:40], _count(chunk, "prompt_eval_count"), _count(chunk, "eval_count")
    )


def keep_alive(text: str) -> str | int:
    """Ollama takes a duration as text, or a number of seconds as a number."""
    return int(text) if text.lstrip("-").isdigit() else text


def _count(chunk: Mapping[str, Any], name: str) -> int:
    value = chunk.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


async def _next(lines: AsyncGenerator[bytes, None], patience: float, what: str, end: float) -> bytes | None:
    """The next line, None at the stream's end. Raises StreamBroken after `patience` seconds, or at `end`.

    No deadline spans a `yield`: it would go off in the code of whoever reads the stream.
    """
    left = end - time.monotonic()
    if left < patience:
        patience, what = left, "a whole answer"
    try:
        async with asyncio.timeout(max(patience, 0)):
            return await anext(lines, None)
    except TimeoutError as error:
        broken = NoFirstToken if what == FIRST else StreamBroken
        raise broken(f"the model took too long for {what}") from error


async def _check(response: aiohttp.ClientResponse, model: str) -> None:
    if response.status == 200:
        return
    said = _reason(await _body(response))
    if response.status == 400 and TOO_LONG in said:
        raise PromptTooLong(f"the prompt is too long for the model {model[:100]!r}: {said}")
    if response.status == 404:
        raise UnknownModel(f"the model {model[:100]!r} is unknown: {said}")
    if response.status in _BUSY:
        raise OllamaAway(f"Ollama is busy ({response.status}): {said}", retry_after=2)
    raise Permanent(f"Ollama refuses the request ({response.status}): {said}")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for block in response.content.iter_any():
        body += block
        if len(body) > MAX_BODY:
            response.close()
            raise Permanent(f"Ollama answered with more than {MAX_BODY} bytes")
    return bytes(body)


def _reason(body: bytes) -> str:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode("utf-8", "replace")
    return str(said.get("error", said))[:300] if isinstance(said, dict) else str(said)[:300]


def _label(model: str) -> dict[str, str]:
    return {"gen_ai.request.model": model[:128]}


def _name(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()[:200]
