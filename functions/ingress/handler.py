"""The story of ingress: somebody asks, searches or changes documents, and is the only one who waits.

`Ingress` is what the HTTP API and the page call. Each call is given the `Principal` that asks; nothing in a request
can widen what that principal may see.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from functions.ingress.access import Principal
from functions.ingress.asks import ANSWER, SEARCH, Asks, Event, Opening, new_id
from functions.ingress.conversations import Before, Conversations, unknown
from functions.ingress.documents import SOURCE, Documents
from functions.ingress.failures import told
from functions.ingress.following import HEARTBEAT, follow
from functions.ingress.offered import Offered
from functions.ingress.ports import Remembered
from functions.ingress.presence import Presence
from functions.ingress.requests import checked, checked_question
from knts import answers, channel, events
from knts.channel import Position
from knts.errors import KntsError, Permanent, Temporary, UpstreamFailed

__all__ = ["HEARTBEAT", "Ingress", "Limits", "Position", "Principal"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How many seconds a search, an answer that is listened to, and one that is not, may take.

    `queue` is how many different questions may wait for one model, `strict` whether answers are strict where the
    request does not say.
    """

    search: float = 10.0
    answer: float = 120.0
    unheard: float = 600.0
    queue: int = 32
    strict: bool = False


@dataclass(frozen=True)
class Begun:
    """An answer that has begun. `events` are all of it, as `follow` gives them, where it was known already."""

    id: str
    events: Sequence[Event] = ()


@dataclass(kw_only=True)
class Ingress(Documents):
    """Search, ask, follow, answer, cancel; and, as `Documents`, put, delete, show and list documents.

    Every call raises `knts.errors` only: BadRequest (its `errors` name field and rule), NotFound (unknown, or
    somebody else's), Gone, TooLarge, UpstreamFailed, DeadlineExceeded, Temporary.
    """

    asks: Asks
    conversations: Conversations
    presence: Presence
    remembered: Remembered
    offered: Offered
    limits: Limits
    model: str  # the one that answers where a request names none

    async def search(self, who: Principal, query: dict[str, Any]) -> dict[str, Any]:
        """The search result of `{"query", "limit"?, "offset"?, "filters"?, "facets"?}`, as GET /v1/search gives it."""
        data = checked(events.SEARCH_REQUESTED, query, groups=list(who.groups))
        with self.doors.searches.passed():
            return await self._search(who, data)

    async def _search(self, who: Principal, data: dict[str, Any]) -> dict[str, Any]:
        ask_id = await self.asks.search(who, data["query"], self.limits.search)
        async with self._told_of_failure(ask_id):
            await self._announce_ask(who.tenant, ask_id, events.SEARCH_REQUESTED, data, self.limits.search)
        async for _, event_type, result in follow(self.asks, self.presence, who, ask_id, SEARCH, Position(), None):
            if event_type == channel.RESULT:
                return result
            if event_type == channel.FAILED:
                raise told(result)
        raise UpstreamFailed("the search ended without a result")

    async def ask(self, who: Principal, request: dict[str, Any], *, listening: bool) -> str:
        """Start to answer an AnswerRequest of `schemas/openapi.yaml`: a question and how to answer it.

        The new answer's id; it may have ended already, from the cache. `listening`: somebody follows it from now on,
        and when nobody does any more for 30 s its generation may stop.
        """
        return (await self._begin(who, request, listening=listening)).id

    async def begin(self, who: Principal, request: dict[str, Any], before: Before | None = None) -> Begun:
        """The same for a caller who shows the answer at once, and follows it only where no events came with it.

        `before` are the turns that he brought along, for one whose conversation is not kept here.
        """
        return await self._begin(who, request, listening=True, before=before)

    async def _begin(
        self, who: Principal, request: dict[str, Any], *, listening: bool, before: Before | None = None
    ) -> Begun:
        said = {"strict": True, **request} if self.limits.strict and "format" not in request else request
        data, conversation_id = checked_question(said, who.groups)
        if conversation_id is not None:
            before = await self.conversations.before(who, conversation_id)
        before = before or Before()
        seconds = self.limits.answer if listening else self.limits.unheard
        if before.turns:
            data["conversation"] = list(before.turns)
        elif (known := await self._recall(who, data)) is not None:
            begun = Begun(*await self.asks.open_answered(who, data["question"], seconds, known, before.noted))
            await self.conversations.add(who, before, begun.id)
            return begun
        opening = Opening(new_id(), self.model, self.limits.queue, listening, before.noted)
        self.doors.streams.check()
        self.doors.road.enter(opening.id)
        try:
            await self.asks.open(who, data, seconds, opening)
            async with self._told_of_failure(opening.id):
                await self.conversations.add(who, before, opening.id)
                await self._announce_ask(who.tenant, opening.id, events.ANSWER_REQUESTED, data, seconds)
        except KntsError:
            self.doors.road.arrived(opening.id)
            raise
        return Begun(opening.id)

    async def ask_again(self, ask_id: str) -> None:
        """Publish a question again whose flight nobody leads any more: whoever gets it takes the flight over."""
        ask = await self.asks.channel.ask(ask_id)
        if ask and "request" in ask and (left := self.asks.left_seconds(ask)) > 0:
            log.warning("a flight lost its leader: its question is published again", extra={"ask": ask_id})
            await self._announce_ask(ask["tenant"], ask_id, events.ANSWER_REQUESTED, orjson.loads(ask["request"]), left)

    def follow(
        self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None
    ) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
        """`(opaque id, event type, data)` after a position, until the last event of the answer.

        The types are queued, passages, joined, delta, reset, citation, completed, abstained, failed and cancelled;
        the last one's data is the answer as `answer` gives it. With `heartbeat` in seconds, `("", HEARTBEAT, {})`
        comes whenever that long nothing did, and at once when nothing waits to be read. Nothing at all comes after
        the end's position. At the deadline the answer is ended as failed. Raises NotFound, Gone.
        """
        return self._follow(who, ask_id, after, heartbeat)

    async def _follow(
        self, who: Principal, ask_id: str, after: Position, heartbeat: float | None
    ) -> AsyncGenerator[Event]:
        with self.doors.streams.passed(), contextlib.ExitStack() as leaving:
            self.doors.road.follow(ask_id)
            leaving.callback(self.doors.road.arrived, ask_id)
            events = follow(self.asks, self.presence, who, ask_id, ANSWER, after, heartbeat)
            async with contextlib.aclosing(events):
                async for event in events:
                    if event[1] in (channel.JOINED, channel.DELTA):
                        self.doors.road.arrived(ask_id)
                    yield event

    async def answer(self, who: Principal, ask_id: str) -> dict[str, Any] | None:
        """The finished answer, or None while it is being made. Raises NotFound, Gone.

        Where a document it rests on was removed since, or may no longer be read, it is failed and quotes nothing;
        where one has changed it is stale.
        """
        ask, final = await self.asks.finished(who, ask_id, ANSWER)
        if final is None:
            return None
        standing = await self.asks.standing(who, ask, final)
        return answers.compose(ask, standing.shown(final))

    async def cancel(self, who: Principal, ask_id: str) -> None:
        """End the asker's part in an answer; nothing happens to one that is finished. Raises NotFound, Gone."""
        _, final = await self.asks.finished(who, ask_id, ANSWER)
        if final is None:
            await self.asks.cancel(ask_id)

    async def conversation(self, who: Principal, conversation_id: str) -> dict[str, Any]:
        """`{"id", "turns": [{"id", "question", "status", "answer", …}]}` of the asker's own. Raises NotFound."""
        turns = await self.conversations.turns(who, conversation_id)
        if not turns:
            raise unknown()
        return {"id": conversation_id, "turns": [turn.shown for turn in turns]}

    async def forget_conversation(self, who: Principal, conversation_id: str) -> None:
        """Forget its questions and their answers; one that is being written is cancelled. Raises NotFound."""
        await self.conversations.delete(who, conversation_id)

    @contextlib.asynccontextmanager
    async def _told_of_failure(self, ask_id: str) -> AsyncGenerator[None]:
        """Somebody listens already; if his event can't be published, he is told."""
        try:
            yield
        except KntsError as error:
            log.warning("not published: %s", error.detail)
            await self.asks.fail(ask_id, error)
            raise

    async def _announce_ask(
        self, tenant: str, ask_id: str, event_type: str, data: Mapping[str, Any], seconds: float
    ) -> None:
        at = self.asks.tailer.now_ms() / 1000 + seconds
        expiry = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        named = {"subject": ask_id, "correlationid": ask_id, "tenant": tenant, "expirytime": expiry}
        await self.publisher.publish(events.new_event(event_type, SOURCE, data, **named))

    async def _recall(self, who: Principal, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """A remembered answer that still holds. A cache that is away costs time, never the answer."""
        if data.get("cache", "use") != "use":
            return None
        try:
            return await self.remembered.recall(who.tenant, who.groups, data)
        except (Temporary, Permanent) as error:
            log.warning("asking without the cache: %s", error.detail)
            return None
