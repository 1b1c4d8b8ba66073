"""What llm-answer needs of the world: the shapes of its clients, and its limits."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from functions.llm_answer.counting import Learned
from functions.llm_answer.prompt import Budget
from knts.clients.continuing import Continues
from knts.clients.flights import Flights
from knts.clients.line import Line
from knts.clients.ollama import Done, Model
from knts.settings import OllamaServer, flag, ollama_base, positive_int, seconds, setting


class Models(Protocol):
    """What is needed of `knts.clients.ollama.Ollama`; `default_model` answers where a request names none."""

    default_model: str

    async def model(self, name: str | None = None) -> Model: ...
    async def continues(self, model: str, context: int) -> bool: ...
    def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        options: Mapping[str, Any],
        format: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[str | Done, None]: ...


class Answers(Protocol):
    """What is needed of `knts.clients.answer_cache.AnswerCache`."""

    async def get(self, key: str) -> dict[str, Any] | None: ...
    async def near(self, family: str, places: Iterable[Mapping[str, Any]]) -> dict[str, bytes]: ...
    async def answers(self, keys: Iterable[str]) -> list[dict[str, Any]]: ...


class Since(Protocol):
    """A document's current version, and since when it is: ms by Redis' clock, None where nobody knows."""

    @property
    def version(self) -> int: ...
    @property
    def ms(self) -> int | None: ...


class Versions(Protocol):
    """What is needed of `knts.clients.records.Records`."""

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]: ...
    async def since(self, tenant: str, ids: Iterable[str]) -> Mapping[str, Since]: ...


class Embedding(Protocol):
    """What is needed of `knts.clients.embedder.Embedder`."""

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]: ...


class Asks(Protocol):
    """What is needed of `knts.clients.channel.Channel`; `now_ms` is Redis' clock."""

    def now_ms(self) -> int: ...
    async def ask(self, correlation_id: str) -> dict[str, str] | None: ...
    async def finish(
        self,
        correlation_id: str,
        frames: Sequence[tuple[str, dict[str, Any]]],
        last: str,
        final: dict[str, Any],
        /,
        **fields: str | float,
    ) -> str: ...


@dataclass(frozen=True, kw_only=True)
class AnswerLimits:
    """How much llm-answer asks of a model, and how often."""

    slots: int = setting(
        "KNTS_MODEL_SLOTS", "answers that one model writes at the same time, over all replicas", 4, parse=positive_int
    )
    context: int = setting(
        "KNTS_CONTEXT_TOKENS", "tokens of a model's context that are used at most", 8192, parse=positive_int
    )
    prompt: int = setting(
        "KNTS_PROMPT_TOKENS", "tokens of passages that a prompt shows at most", 1500, parse=positive_int
    )
    answer: int = setting("KNTS_ANSWER_TOKENS", "tokens that an answer may have", 400, parse=positive_int)
    tries: int = setting(
        "KNTS_OLLAMA_TRIES", "calls to Ollama within one delivery, while nothing has come of any", 3, parse=positive_int
    )

    @property
    def budget(self) -> Budget:
        return Budget(self.context, self.prompt, self.answer)


@dataclass(frozen=True, kw_only=True)
class FallbackModel:
    """Which model answers where the default one can't."""

    model: str = setting(
        "OLLAMA_FALLBACK_MODEL", "model that answers where the default one can't and the request names none", ""
    )
    url: str = setting(
        "OLLAMA_FALLBACK_URL", "http(s) URL of the Ollama that has it, where it is another one", "", parse=ollama_base
    )

    def server(self, first: OllamaServer) -> OllamaServer | None:
        """Where it is; None without one."""
        return OllamaServer(url=self.url or first.url, model=self.model) if self.model else None


@dataclass(frozen=True, kw_only=True)
class SemanticTier:
    """Whether answers to other wordings are served, and what a question may cost for it."""

    on: bool = setting(
        "KNTS_SEMANTIC",
        "true or false: whether another wording of a question may get its cached answer; needs OLLAMA_EMBED_MODEL",
        False,
        parse=flag,
    )
    patience: float = setting(
        "KNTS_EMBED_PATIENCE", "seconds that embedding a question may take for it", 1.0, parse=seconds
    )


@dataclass(frozen=True, kw_only=True)
class ReaderModel:
    """Which model reads the passages before an answer is written, and judges whether they hold it."""

    model: str = setting(
        "KNTS_READER", "model that judges first whether the passages hold the answer; empty: none does", ""
    )
    seconds: float = setting(
        "KNTS_READER_TIMEOUT", "seconds for its verdict; without one the model answers", 5.0, parse=seconds
    )


@dataclass(frozen=True)
class Semantic:
    """The semantic tier, where it is on: the model that embeds questions, each within `seconds`."""

    embedder: Embedding
    model: str
    seconds: float


@dataclass(frozen=True)
class Judge:
    """A reader at work: the Ollama that has its model, and the seconds that it may take."""

    models: Models
    model: str
    seconds: float


@dataclass(frozen=True)
class Tools:
    """The clients and limits of a started llm-answer.

    `fallback` answers, by its default model, where the one that `models` has by default can't. `judge` reads first.
    Without `semantic` other wordings are other questions. `learned` is what this process knows of the models' own
    counts of tokens. `leading` are the deliveries that lead a flight just now.
    """

    models: Models
    flights: Flights
    line: Line
    continues: Continues
    cache: Answers
    records: Versions
    asks: Asks
    limits: AnswerLimits
    fallback: Models | None = None
    judge: Judge | None = None
    semantic: Semantic | None = None
    learned: Learned = field(default_factory=Learned)
    leading: set[asyncio.Task[Any]] = field(default_factory=set)
