"""Follow an ask from a position to its end, whatever happens on the way: silence, a late answer, an expired stream."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from functions.ingress.access import Principal
from functions.ingress.asks import ANSWER, Ask, Asks, Event, late
from functions.ingress.ports import Follower
from functions.ingress.presence import Presence
from functions.ingress.reading import Reading
from functions.ingress.standing import Standing
from knts import answers, channel
from knts.channel import Position
from knts.errors import Gone, Temporary

HEARTBEAT = ""  # the type of an event that only says that nothing happened
BEAT: Event = ("", HEARTBEAT, {})


@dataclass
class Following:
    """One client on his way through one ask of his own."""

    asks: Asks
    presence: Presence
    who: Principal
    ask: Ask
    reading: Reading
    follower: Follower
    heartbeat: float | None
    standing: Standing = field(default=Standing(), init=False)
    attended: str | None = field(default=None, init=False)

    async def events(self) -> AsyncGenerator[Event]:
        """Events until the last one. Raises Gone, Temporary before the first."""
        if removed := await self._stored():
            yield removed
            return
        batch = await self._next(0) or await self._silence()
        while True:
            for event in batch:
                yield event
            if self.reading.ended:
                return
            batch = await self._wait()

    async def _stored(self) -> Event | None:
        """The one event that is left of a finished answer whose document was removed since; the live ones pass."""
        final = await self.asks.final(self.ask) if self.ask["kind"] == ANSWER else None
        if final is None:
            return None
        self.standing = await self.asks.standing(self.who, self.ask, final, replayed=True)
        return await self._last(final) if self.standing.removed else None

    async def _next(self, seconds: float) -> list[Event]:
        """What comes within so many seconds; with 0, what is there."""
        events: list[Event] = []
        for key, frame in await self.follower.read(seconds):
            if event := self.reading.take(key, frame):
                events.append(event)
        if self.reading.flight and not self.attended:
            self._attend(self.reading.flight)
        if self.reading.ended:
            position, event_type, final = events[-1]
            events[-1] = (position, event_type, await self._composed(event_type, final))
        return events

    async def _wait(self) -> list[Event]:
        left = self.asks.left_seconds(self.ask)
        if left <= 0:
            return await self._late()
        found = await self._next(min(left, self.heartbeat or left))
        return found or ([BEAT] if self.heartbeat else [])

    async def _silence(self) -> list[Event]:
        """Nothing stands after the client's position: is it still being made, or have its frames expired?"""
        _, final = await self.asks.finished(self.who, self.ask["id"], self.ask["kind"])
        if final is None:
            return [BEAT] if self.heartbeat else []
        return await self._next(0) or [await self._last(final)]

    async def _late(self) -> list[Event]:
        """The deadline has passed: the end is read, or written and read, or, without Redis, at least told."""
        try:
            _, final = await self.asks.finished(self.who, self.ask["id"], self.ask["kind"])
            if batch := await self._next(0):
                return batch
        except (Gone, Temporary):
            final = None
        return [await self._last(final or self.asks.failure(late(self.ask)))]

    async def _last(self, final: Mapping[str, Any]) -> Event:
        shown = self.standing.shown(final)
        return self.reading.finish(), shown["status"], await self._composed(shown["status"], shown)

    async def _composed(self, event_type: str, final: Mapping[str, Any]) -> dict[str, Any]:
        """A search's result as it is; an answer with what was noted of its ask on the way."""
        if self.ask["kind"] != ANSWER:
            return dict(final)
        with contextlib.suppress(Temporary):  # then it lacks some timings
            self.ask = await self.asks.own(self.who, self.ask["id"], ANSWER)
        return answers.compose(self.ask, self.standing.shown({"status": event_type, **final}))

    def _attend(self, flight: str) -> None:
        self.follower.follow(channel.flow_key(flight), self.reading.position.flight)
        self.presence.here(flight, self.ask["id"])
        self.attended = flight

    def close(self) -> None:
        self.follower.close()
        if self.attended:
            self.presence.gone(self.attended, self.ask["id"])


async def follow(
    asks: Asks, presence: Presence, who: Principal, ask_id: str, kind: str, after: Position, heartbeat: float | None
) -> AsyncGenerator[Event]:
    """The events of the principal's own ask after a position. Raises NotFound, Gone, Temporary before the first."""
    ask = await asks.own(who, ask_id, kind)
    reading = Reading(ask_id, after)
    if reading.ended:
        return
    reading.resume(ask.get("flight"))
    following = Following(asks, presence, who, ask, reading, asks.tailer.follower(), heartbeat)
    with contextlib.closing(following):
        following.follower.follow(channel.frames_key(ask_id), after.ask)
        async with contextlib.aclosing(following.events()) as events:
            async for event in events:
                yield event
