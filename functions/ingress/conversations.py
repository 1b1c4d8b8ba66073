"""Conversations: what was asked before, as far as it may still be shown, and what of it goes along with a question.

A turn is an ask of the same owner. What may be told of it is decided whenever it is read, as for its answer itself:
once a document that it stands on was removed, or can't be read by the asker any more, it is taken out for good.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from functions.ingress.access import Principal
from functions.ingress.asks import ANSWER, Ask, Asks
from functions.ingress.ports import Conversations as Store
from functions.ingress.standing import Standing
from knts import answers, channel
from knts.errors import Gone, NotFound

MOST_BEFORE = 5  # turns that go along with a question
MOST_TITLES = 4
SHOWN = ("id", "question", "standalone_question", "answered_question", "status", "answer", "citations")


@dataclass(frozen=True)
class Turn:
    """An ask of a conversation, how it ended (None: it has not yet), and how that stands now."""

    ask: Ask
    final: Mapping[str, Any] | None
    standing: Standing

    @property
    def titles(self) -> dict[str, tuple[str, int]]:
        """The documents that its answer cites, by title: id and version."""
        if self.final is None or self.final.get("status") != channel.COMPLETED:
            return {}
        cited = {one["title"]: (one["document_id"], one["version"]) for one in self.final["citations"] if one["title"]}
        return dict(list(cited.items())[:MOST_TITLES])

    @property
    def shown(self) -> dict[str, Any]:
        """The turn as clients get it."""
        if self.final is None:
            return {"id": self.ask["id"], "question": self.ask["question"], "status": "running", "answer": ""}
        answer = answers.compose(self.ask, self.standing.shown(self.final))
        return {name: answer[name] for name in SHOWN if name in answer}


@dataclass(frozen=True)
class Before:
    """What goes along with a question: the turns before it, and the documents whose titles are among them.

    `id` is empty where the asker brought the turns himself, and nothing is kept.
    """

    id: str = ""
    turns: Sequence[Mapping[str, Any]] = ()
    drawn: frozenset[tuple[str, int]] = field(default=frozenset())

    @property
    def noted(self) -> dict[str, str]:
        """What is noted of it on the ask: once one of those documents is removed, the answer is withheld too."""
        drawn = {"drawn": orjson.dumps(sorted(self.drawn)).decode()} if self.drawn else {}
        return {**({"conversation": self.id} if self.id else {}), **drawn}


@dataclass
class Conversations:
    """The conversations of all principals; nobody gets at somebody else's, whatever id he names."""

    asks: Asks
    store: Store

    async def before(self, who: Principal, conversation_id: str) -> Before:
        """What was asked before in it; nothing in a conversation that is new, expired, or somebody else's."""
        told, drawn = [], set()
        for turn in await self.turns(who, conversation_id, MOST_BEFORE):
            titles = turn.titles
            drawn |= {*titles.values(), *drawn_by(turn.ask)}
            question = turn.ask.get("standalone") or turn.ask["question"]
            told.append({"question": question, **({"titles": list(titles)} if titles else {})})
        return Before(conversation_id, told, frozenset(drawn))

    async def add(self, who: Principal, before: Before, ask_id: str) -> None:
        """The ask is the next turn, where it belongs to a conversation that is kept."""
        if before.id:
            await self.store.add(who.tenant, who.id, before.id, ask_id)

    async def turns(self, who: Principal, conversation_id: str, most: int = 0) -> list[Turn]:
        """Its turns, oldest first; with `most`, so many of the latest."""
        ids = (await self.store.turns(who.tenant, who.id, conversation_id))[-most:]
        found = await asyncio.gather(*(self._turn(who, ask_id) for ask_id in ids))
        standing = [turn for turn in found if turn is not None]
        if removed := [turn.ask["id"] for turn in standing if turn.standing.removed]:
            await self.store.forget(who.tenant, who.id, conversation_id, removed)
        return [turn for turn in standing if not turn.standing.removed]

    async def delete(self, who: Principal, conversation_id: str) -> None:
        """Forget it, and what was asked and answered in it. Raises NotFound.

        The asks go first: where that fails, the conversation still names them for the next try.
        """
        await self.asks.forget(who, await self.store.turns(who.tenant, who.id, conversation_id))
        if not await self.store.delete(who.tenant, who.id, conversation_id):
            raise unknown()

    async def _turn(self, who: Principal, ask_id: str) -> Turn | None:
        """The turn; None for one that has expired, or was asked with groups that the key has lost since."""
        try:
            ask, final = await self.asks.finished(who, ask_id, ANSWER)
        except (NotFound, Gone):
            return None
        return Turn(ask, final, await self.asks.standing(who, ask, final or {}))


def drawn_by(ask: Ask) -> set[tuple[str, int]]:
    """The documents whose titles went along with an ask's question."""
    return {(document_id, version) for document_id, version in orjson.loads(ask.get("drawn", "[]"))}


def unknown() -> NotFound:
    """There is no such conversation of the asker's."""
    return NotFound("there is no such conversation, it has expired, or it is somebody else's")
