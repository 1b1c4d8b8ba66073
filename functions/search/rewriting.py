"""How follow-up questions are made to stand by themselves: by rule, or by the model where it is given the time."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions.search.followups import Turn, faithful, leans, standalone
from knts.errors import KntsError

log = logging.getLogger(__name__)

Rewrite = Callable[[str, Sequence[Turn]], Awaitable[str]]

SYSTEM = (
    "Rewrite the last question so that it can be understood without the earlier ones. "
    "Use only words of the conversation. Say only the question."
)
OPTIONS: Mapping[str, Any] = {"temperature": 0.0, "seed": 0, "num_predict": 96, "stop": ["\n"]}


class Models(Protocol):
    """What is needed of `knts.clients.ollama.Ollama`."""

    default_model: str

    def chat(
        self, model: str, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]: ...


async def by_rule(question: str, turns: Sequence[Turn]) -> str:
    """The rule's question: no model, no time."""
    return standalone(question, turns)


@dataclass(frozen=True)
class ByModel:
    """The model's question, where it comes within `seconds`, is faithful and leans on nothing; else the rule's.

    The call stands in no line: it is short, and whoever asks waits for nothing else yet.
    """

    models: Models
    seconds: float

    async def __call__(self, question: str, turns: Sequence[Turn]) -> str:
        if not turns:
            return question
        try:
            async with asyncio.timeout(self.seconds):
                rewritten = await self._asked(question, turns)
        except (KntsError, TimeoutError) as error:
            log.warning("a follow-up is expanded by rule: %s", error or "the model took too long")
            return standalone(question, turns)
        if faithful(rewritten, question, turns) and not leans(rewritten):
            return rewritten
        log.info("a follow-up is expanded by rule: the model's question is another one, or leans as before")
        return standalone(question, turns)

    async def _asked(self, question: str, turns: Sequence[Turn]) -> str:
        said = ""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": told(question, turns)}]
        async with contextlib.aclosing(self.models.chat(self.models.default_model, messages, OPTIONS)) as pieces:
            async for piece in pieces:
                said += piece if isinstance(piece, str) else ""
        return said.strip()


def told(question: str, turns: Sequence[Turn]) -> str:
    """The conversation as the model reads it."""
    lines = []
    for turn in turns:
        about = "; ".join(turn.get("titles", ()))
        lines.append(f"Earlier question: {turn['question']}" + (f" (answered from: {about})" if about else ""))
    return "\n".join([*lines, f"Last question: {question}"])
