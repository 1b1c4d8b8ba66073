"""A scripted ingress for tests of the page: real words to search, and answers whose frames the test says one by one."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions.ingress.access import Principal
from knts.channel import LAST, Position
from knts.errors import KntsError, NotFound

LOCAL = Principal("local", (), "local")

SPEECHES = [
    (
        "Hamlet",
        "Act 3",
        "Hamlet",
        "To be, or not to be, that is the question:\nWhether ’tis nobler to suffer",
    ),
    (
        "Hamlet",
        "Act 3",
        "Hamlet",
        "The slings and arrows of outrageous fortune, or to take arms against troubles",
    ),
    ("Hamlet", "Act 1", "Marcellus", "Something is rotten in the state of Denmark."),
    ("Hamlet", "Act 1", "Polonius", "Neither a borrower nor a lender be; for loan oft loses both itself and friend."),
    ("Macbeth", "Act 5", "Macbeth", "Tomorrow, and tomorrow, and tomorrow, creeps in this petty pace from day to day"),
    ("Macbeth", "Act 1", "First Witch", "When shall we three meet again? In thunder, lightning, or in rain?"),
    ("Macbeth", "Act 2", "Macbeth", "Is this a dagger which I see before me, the handle toward my hand?"),
    (
        "Romeo and Juliet",
        "Act 2",
        "Juliet",
        "O Romeo, Romeo! Wherefore art thou Romeo? Deny thy father",
    ),
    ("As You Like It", "Act 2", "Jaques", "All the world’s a stage, and all the men and women merely players"),
    (
        "Henry V",
        "Act 4",
        "Henry V",
        "We few, we happy few, we band of brothers; for he that sheds his blood with me",
    ),
    ("Richard III", "Act 5", "Richard III", "A horse! a horse! my kingdom for a horse! 🐎 <b>not markup</b> & so on"),
    (
        "The Tempest",
        "Act 4",
        "Prospero",
        "We are such stuff as dreams are made on; our little life is rounded with a sleep.",
    ),
]


def corpus() -> list[dict[str, Any]]:
    """The speeches as hits, each a document of its own."""
    return [
        {
            "document_id": f"plays/{play.lower().replace(' ', '-')}/{number}",
            "version": 1,
            "title": f"{play}, {act}",
            "url": None,
            "section": speaker,
            "metadata": {"play": play, "act": act, "speaker": speaker},
            "text": text,
        }
        for number, (play, act, speaker, text) in enumerate(SPEECHES)
    ]


def passage(document: dict[str, Any], chunk: int = 0) -> dict[str, Any]:
    """A document as the passage that an answer is written from."""
    named = {name: document[name] for name in ("document_id", "version", "title", "url", "section", "text")}
    return {**named, "chunk": chunk, "start": 0, "end": len(document["text"])}


def citation(document: dict[str, Any], quote: str, answer: str, claim: str) -> dict[str, Any]:
    """A citation of `quote` for the words `claim` of the answer, its offsets found in the texts."""
    start, said = document["text"].index(quote), answer.index(claim)
    named = {name: document[name] for name in ("document_id", "version", "title", "url")}
    return {
        **named,
        "start": start,
        "end": start + len(quote),
        "quote": quote,
        "sha256": hashlib.sha256(quote.encode()).hexdigest(),
        "answer_start": said,
        "answer_end": said + len(claim),
    }


@dataclass
class Asked:
    """One ask and what has been said of it."""

    request: dict[str, Any]
    owner: Principal
    frames: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def final(self) -> dict[str, Any] | None:
        return self.frames[-1][1] if self.frames and self.frames[-1][0] in LAST else None


class ScriptedIngress:
    """What the page asks of ingress, from memory.

    `searches` are the queries it got, `failure` what they raise, `full` what asking raises.
    """

    def __init__(self, documents: Sequence[dict[str, Any]] | None = None) -> None:
        self.documents = list(corpus() if documents is None else documents)
        self.asks: dict[str, Asked] = {}
        self.searches: list[dict[str, Any]] = []
        self.connections: list[Position] = []
        self.failure: KntsError | None = None
        self.full: KntsError | None = None

    async def search(self, who: Principal, query: dict[str, Any]) -> dict[str, Any]:
        self.searches.append(query)
        if self.failure is not None:
            raise self.failure
        words = re.findall(r"\w+", query["query"].lower())
        hits = [self._hit(one, words) for one in self.documents if self._matches(one, words, query.get("filters", {}))]
        offset = query.get("offset", 0)
        facets = {key: _count([hit["metadata"].get(key) for hit in hits]) for key in query.get("facets", [])}
        page = hits[offset : offset + query["limit"]]
        return {"query": query["query"], "found": len(hits), "took_ms": 2.4, "hits": page, "facets": facets}

    def _matches(self, one: dict[str, Any], words: list[str], filters: dict[str, Any]) -> bool:
        allowed = {key: value if isinstance(value, list) else [value] for key, value in filters.items()}
        kept = all(one["metadata"].get(key) in values for key, values in allowed.items())
        return kept and all(word in one["text"].lower() for word in words)

    def _hit(self, one: dict[str, Any], words: list[str]) -> dict[str, Any]:
        marks = [[m.start(), m.end()] for word in words for m in re.finditer(re.escape(word), one["text"].lower())]
        named = {name: one[name] for name in ("document_id", "version", "title", "url", "section", "metadata")}
        place = {"start": 0, "end": len(one["text"]), "text": one["text"]}
        return {**named, "score": 1.0, "passage": place, "highlights": sorted(marks)}

    async def ask(self, who: Principal, request: dict[str, Any], *, listening: bool) -> str:
        if self.full is not None:
            raise self.full
        ask_id = secrets.token_hex(16)
        self.asks[ask_id] = Asked(request, who)
        await self.say(ask_id, "queued", {"id": ask_id})
        return ask_id

    async def conversation(self, who: Principal, conversation_id: str) -> dict[str, Any]:
        turns = [
            {"id": ask_id, "question": asked.request["question"]}
            for ask_id, asked in self.asks.items()
            if asked.request.get("conversation_id") == conversation_id and asked.owner == who
        ]
        if not turns:
            raise NotFound("no such conversation")
        return {"id": conversation_id, "turns": turns}

    async def say(self, ask_id: str, frame_type: str, data: dict[str, Any]) -> None:
        """Let a frame happen."""
        asked = self.asks[ask_id]
        if frame_type in LAST:
            data = {"id": ask_id, "question": asked.request["question"], "status": frame_type, **data}
        async with asked.grown:
            asked.frames.append((frame_type, data))
            asked.grown.notify_all()

    def _asked(self, who: Principal, ask_id: str) -> Asked:
        asked = self.asks.get(ask_id)
        if asked is None or asked.owner != who:
            raise NotFound("no such answer")
        return asked

    async def follow(
        self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None
    ) -> AsyncGenerator[tuple[str, str, dict[str, Any]], None]:
        self.connections.append(after)
        asked, reached = self._asked(who, ask_id), int(after.ask)
        while True:
            while reached < len(asked.frames):
                frame_type, data = asked.frames[reached]
                reached += 1
                yield Position(str(reached)).token(), frame_type, data
                if frame_type in LAST:
                    return
            yield "", "", {}
            async with asked.grown:
                while reached == len(asked.frames):
                    await asked.grown.wait()

    async def answer(self, who: Principal, ask_id: str) -> dict[str, Any] | None:
        return self._asked(who, ask_id).final

    async def cancel(self, who: Principal, ask_id: str) -> None:
        asked = self._asked(who, ask_id)
        if asked.final is None:
            said = "".join(data["text"] for kind, data in asked.frames if kind == "delta")
            await self.say(ask_id, "cancelled", {"answer": said})

    async def document(self, who: Principal, document_id: str, *, text: bool = False) -> dict[str, Any]:
        for one in self.documents:
            if one["document_id"] == document_id:
                return {**one, "id": document_id, "status": "indexed"}
        raise NotFound("no such document")


def _count(values: list[Any]) -> list[dict[str, Any]]:
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [{"value": value, "count": count} for value, count in sorted(counts.items(), key=lambda one: -one[1])]


async def tell(ingress: ScriptedIngress, ask_id: str, *, pause: float = 0.0) -> dict[str, Any]:
    """Play a whole answer with two citations, `pause` seconds between its tokens; the final object.

    Its second sentence is not supported.
    """
    first, second = ingress.documents[0], ingress.documents[1]
    answer = "Hamlet asks whether to be or not to be. 🎭 He weighs the slings and arrows of fortune <against> arms."
    ended = answer.index(".") + 1
    await ingress.say(ask_id, "passages", {"passages": [passage(first), passage(second)]})
    await ingress.say(ask_id, "joined", {"flight": "f"})
    for token in re.findall(r"\s*\S+", answer):
        await ingress.say(ask_id, "delta", {"text": token})
        await asyncio.sleep(pause)
    final = {
        "answer": answer,
        "model": "smollm2:135m",
        "citations": [
            citation(first, "To be, or not to be", answer, "to be or not to be"),
            citation(second, "slings and arrows of outrageous fortune", answer, "slings and arrows of fortune"),
        ],
        "sentences": [
            {"start": 0, "end": ended, "supported": True, "citations": [0]},
            {"start": ended + 1, "end": len(answer), "supported": False, "citations": [1]},
        ],
        "passages": [passage(first), passage(second)],
        "cache": "miss",
        "usage": {"prompt_tokens": 220, "completion_tokens": 24},
        "timings_ms": {"queued": 1, "search": 4.2, "first_token": 310, "total": 1490},
    }
    await ingress.say(ask_id, "completed", final)
    return final
