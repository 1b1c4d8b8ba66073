"""What ingress knows of an ask: whose it is, whether it has ended and how, and when it must."""

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from functions.ingress.access import Principal
from functions.ingress.ports import Channel, Flights, Records, Tailer
from functions.ingress.reading import Reading
from functions.ingress.standing import Standing, quotes, standing
from knts import answers, channel, errors
from knts.answer_keys import fast_key
from knts.channel import Frame, Position
from knts.errors import DeadlineExceeded, Gone, KntsError, NotFound
from knts.line import Wanted, model_name, ticket_of

ANSWER, SEARCH = "answer", "search"
Ask = Mapping[str, str]
Event = tuple[str, str, dict[str, Any]]  # opaque id, type, data

FAREWELL_MS = 10_000  # an ask that is cancelled and forgotten stays for so long, so that who listens is told

_ID = re.compile(r"[0-9a-f]{32}\Z")


def new_id() -> str:
    """An ask's id: 128 random bits."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Opening:
    """How an ask for an answer is opened.

    `most` tickets may wait for its model, which is `model` where it names none. `noted` is kept with it as it stands.
    """

    id: str
    model: str
    most: int
    listening: bool
    noted: Mapping[str, str] = field(default_factory=dict)

    def question_key(self, who: Principal, request: Mapping[str, Any]) -> str:
        """What two must have in common to share a ticket, as they would share a flight if the evidence is the same."""
        alone = self.id if request.get("cache") == "off" else ""
        return fast_key(alone, who.tenant, who.groups, request, self.model)


@dataclass
class Asks:
    """The asks in the correlation channel. Times are Redis' own, in ms, so that replicas agree."""

    channel: Channel
    flights: Flights
    tailer: Tailer
    records: Records

    async def search(self, who: Principal, query: str, seconds: float) -> str:
        """A new ask for a search, which must be done within `seconds`: its id, 128 random bits."""
        ask_id = new_id()
        await self.channel.open(ask_id, {"id": ask_id}, **self._noted(who, SEARCH, query, seconds))
        return ask_id

    async def open(self, who: Principal, request: Mapping[str, Any], seconds: float, opening: Opening) -> None:
        """A new ask for an answer, with its `queued` frame and a ticket. Raises Busy where there is no place.

        What is asked is kept with it, so that it can be published again.
        """
        noted = self._noted(who, ANSWER, request["question"], seconds)
        line = ticket_of(who.tenant, opening.question_key(who, request))
        wanted = Wanted(model_name(request.get("model") or opening.model), line, opening.most, noted["deadline"])
        more = {
            "request": orjson.dumps(request).decode(),
            **({} if opening.listening else {"async": "1"}),
            **opening.noted,
        }
        await self.channel.open(opening.id, {"id": opening.id}, wanted=wanted, **noted, **more)

    async def open_answered(
        self,
        who: Principal,
        question: str,
        seconds: float,
        known: Mapping[str, Any],
        more: Mapping[str, str],
    ) -> tuple[str, list[Event]]:
        """A new ask that an answer.completed known before ends at once: its id, and all its events as clients get them.

        `more` is kept with it. One write, and nothing of it is read again.
        """
        ask_id = secrets.token_hex(16)
        cache = "semantic" if "answered_from" in known else "hit"
        noted = {**self._noted(who, ANSWER, question, seconds), "cache": cache, **more}
        final = answers.from_completed(known, noted["created"])
        frames = [(channel.QUEUED, {"id": ask_id}), *answers.frames_of(final), (final["status"], final)]
        ids = await self.channel.answered(ask_id, frames, **noted)
        answer = answers.compose({"id": ask_id, **noted}, final)
        return ask_id, _read(ask_id, zip(ids, [*frames[:-1], (final["status"], answer)], strict=True))

    def _noted(self, who: Principal, kind: str, question: str, seconds: float) -> dict[str, Any]:
        created = self.tailer.now_ms()
        return {
            "tenant": who.tenant,
            "owner": who.id,
            "groups": orjson.dumps(who.groups).decode(),
            "kind": kind,
            "question": question,
            "created": created,
            "deadline": created + int(seconds * 1000),
        }

    async def own(self, who: Principal, ask_id: str, kind: str) -> Ask:
        """What is known of the principal's own ask. Raises NotFound for unknown and foreign ones alike."""
        found = await self.channel.ask(ask_id) if _ID.match(ask_id) else None
        if found is None or found.get("kind") != kind or not _covers(who, found):
            raise NotFound("there is no such answer, or it is somebody else's")
        return {"id": ask_id, **found}

    async def standing(self, who: Principal, ask: Ask, final: Mapping[str, Any], *, replayed: bool = False) -> Standing:
        """What became of the documents of a finished answer since; `replayed`: its frames are shown again too."""
        frames = await self.channel.frames(channel.frames_key(ask["id"])) if replayed else ()
        quoted = quotes(final, frames)
        drawn = {document_id: frozenset([version]) for document_id, version in orjson.loads(ask.get("drawn", "[]"))}
        readable = await self.records.readable(who.tenant, who.groups, {**quoted, **drawn})
        stands = standing(quoted, readable)
        return replace(stands, removed=stands.removed or standing(drawn, readable).removed)

    async def final(self, ask: Ask) -> dict[str, Any] | None:
        """The final object of the ask or of its flight, or None while nothing has ended it."""
        if "final" in ask:
            own: dict[str, Any] = orjson.loads(ask["final"])
            return {"status": ask["ended_by"], **own}
        return await self.flights.final(ask["flight"]) if "flight" in ask else None

    def left_seconds(self, ask: Ask) -> float:
        """How long it may still take; negative when it is late."""
        return (int(ask["deadline"]) - self.tailer.now_ms()) / 1000

    async def fail(self, ask_id: str, error: KntsError) -> None:
        """End an ask that nothing has ended yet, as failed."""
        await self.channel.append(ask_id, channel.FAILED, self.failure(error))

    def failure(self, error: KntsError) -> dict[str, Any]:
        """The final object of an ask that failed for this reason."""
        return answers.failure(error.detail, errors.problem(error), self.tailer.now_ms())

    async def cancel(self, ask_id: str) -> None:
        """End an ask by its asker's will, and his part in its flight."""
        final = {"status": channel.CANCELLED, "reason": "cancelled by its asker", "finished_at": self.tailer.now_ms()}
        await self.channel.append(ask_id, channel.CANCELLED, final)
        ask = await self.channel.ask(ask_id) or {}  # it may have joined its flight just before
        if "flight" in ask:
            await self.flights.leave(ask["flight"], ask_id)

    async def forget(self, who: Principal, ask_ids: Sequence[str]) -> None:
        """Nothing of the principal's own asks for answers stays; one that is under way is cancelled first."""
        asks = await asyncio.gather(*map(self.channel.ask, ask_ids))
        own = [(ask_id, ask) for ask_id, ask in zip(ask_ids, asks, strict=True) if ask and _owns(who, ask)]
        running = [ask_id for ask_id, ask in own if "final" not in ask and await self.final(ask) is None]
        for ask_id in running:
            await self.cancel(ask_id)
        await self.channel.forget(running, FAREWELL_MS)
        await self.channel.forget(ask_id for ask_id, _ in own if ask_id not in running)

    async def end_late(self, ask: Ask) -> None:
        """End an ask whose deadline has passed, and its part in a flight."""
        await self.fail(ask["id"], late(ask))
        if "flight" in ask:
            await self.flights.leave(ask["flight"], ask["id"])

    async def finished(self, who: Principal, ask_id: str, kind: str) -> tuple[Ask, dict[str, Any] | None]:
        """The ask and its final object, None while it is being made; a late one is ended. Raises NotFound, Gone."""
        ask = await self.own(who, ask_id, kind)
        final = await self.final(ask)
        if final is None and not await self.channel.alive(channel.frames_key(ask_id)):
            raise Gone("the answer was never finished and has expired")
        if final is None and self.left_seconds(ask) <= 0:
            await self.end_late(ask)
            ask = await self.own(who, ask_id, kind)
            final = await self.final(ask)
        return ask, final


def _owns(who: Principal, ask: Ask) -> bool:
    return (ask.get("tenant"), ask.get("owner")) == (who.tenant, who.id)


def _covers(who: Principal, ask: Ask) -> bool:
    """Whether the ask is the principal's, who may still read all that it was opened to read."""
    if not _owns(who, ask) or "groups" not in ask:
        return False
    return set(orjson.loads(ask["groups"])) <= set(who.groups)


def _read(ask_id: str, entries: Iterable[tuple[str, tuple[str, dict[str, Any]]]]) -> list[Event]:
    """Entries of an ask's stream, each with its id, as whoever reads them all from the beginning gets them."""
    reading, key = Reading(ask_id, Position()), channel.frames_key(ask_id)
    taken = [reading.take(key, Frame(entry_id, frame_type, data)) for entry_id, (frame_type, data) in entries]
    return [event for event in taken if event]


def late(ask: Ask) -> DeadlineExceeded:
    """Nothing came by the ask's deadline."""
    seconds = (int(ask["deadline"]) - int(ask["created"])) / 1000
    return DeadlineExceeded(f"nothing came within {seconds:g} s")
