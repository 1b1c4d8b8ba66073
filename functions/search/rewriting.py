"""How follow-up questions are made to stand by themselves: by rule, or by the model where it is given the time."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions.search.followups import Turn, faithful, leans, standalone
from knts import telemetry
from knts.errors import KntsError

log = logging.getLogger(__name__)

Rewrite = Callable[[str, Sequence[Turn]], Awaitable[str]]

SYSTEM = (
    "Rewrite the last question so that it can be understood without the earlier ones. "
    "Use only words of the conversation. Say only the question."
)
OPTIONS: Mapping[str, Any] = {"temperature": 0.0, "seed": 0, "num_predict": 96, "stop": ["\n"]}
SLACK = 1.0  # seconds that a slot is held beyond the call's own, should its end not be told


class Described(Protocol):
    """A model, as far as it matters here."""

    @property
    def context(self) -> int: ...


class Models(Protocol):
    """What is needed of `knts.clients.ollama.Ollama`."""

    default_model: str

    async def model(self) -> Described: ...

    def chat(
        self, model: str, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]: ...


class Slots(Protocol):
    """The line before the model: `knts.clients.line.Line`."""

    def spare(self, model: str, seconds: float) -> contextlib.AbstractAsyncContextManager[bool]: ...


async def by_rule(question: str, turns: Sequence[Turn]) -> str:
    """The rule's question: no model, no time."""
    return standalone(question, turns)


@dataclass(frozen=True)
class ByModel:
    """The model's question, where it comes within `seconds`, is faithful and leans on nothing; else the rule's.

    The call waits for nobody: it is made only where one of the model's slots is free, and holds it meanwhile. `context`
    is what answers use of the model's at most: Ollama loads a model anew for another one.
    """

    models: Models
    line: Slots
    seconds: float
    context: int

    async def __call__(self, question: str, turns: Sequence[Turn]) -> str:
        if not turns:
            return question
        rewritten, outcome = await self._tried(question, turns)
        telemetry.count("knts.search.rewritings", outcome=outcome)
        return rewritten

    async def _tried(self, question: str, turns: Sequence[Turn]) -> tuple[str, str]:
        """The question as it is asked, and how it came to that."""
        ruled = standalone(question, turns)
        try:
            async with self.line.spare(self.models.default_model, self.seconds + SLACK) as free:
                if not free:
                    log.info("a follow-up is expanded by rule: all slots of the model are taken")
                    return ruled, "busy"
                async with asyncio.timeout(self.seconds):
                    rewritten = await self._asked(question, turns)
        except TimeoutError:
            log.warning("a follow-up is expanded by rule: the model took longer than %g s", self.seconds)
            return ruled, "late"
        except KntsError as error:
            log.warning("a follow-up is expanded by rule: %s", error.detail)
            return ruled, "failed"
        if accepted(rewritten, question, turns):
            return rewritten, "model"
        log.info("a follow-up is expanded by rule: the model's question is another one, or leans as before")
        return ruled, "strayed"

    async def _asked(self, question: str, turns: Sequence[Turn]) -> str:
        said = ""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": told(question, turns)}]
        options = {**OPTIONS, "num_ctx": min((await self.models.model()).context, self.context)}
        async with contextlib.aclosing(self.models.chat(self.models.default_model, messages, options)) as pieces:
            async for piece in pieces:
                said += piece if isinstance(piece, str) else ""
        return said.strip()


def accepted(rewritten: str, question: str, turns: Sequence[Turn]) -> bool:
    """Whether the model's question is asked: it is the same one, and stands by itself."""
    return faithful(rewritten, question, turns) and not leans(rewritten)


def told(question: str, turns: Sequence[Turn]) -> str:
    """The conversation as the model reads it."""
    lines = []
    for turn in turns:
        about = "; ".join(turn.get("titles", ()))
        lines.append(f"Earlier question: {turn['question']}" + (f" (answered from: {about})" if about else ""))
    return "\n".join([*lines, f"Last question: {question}"])
