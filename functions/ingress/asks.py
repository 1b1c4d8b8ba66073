"""What ingress knows of an ask: whose it is, whether it has ended and how, and when it must."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from functions.ingress.access import Principal
from functions.ingress.ports import Channel, Flights, Tailer
from knts import answers, channel, errors
from knts.errors import DeadlineExceeded, Gone, KntsError, NotFound

ANSWER, SEARCH = "answer", "search"
Ask = Mapping[str, str]

_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass
class Asks:
    """The asks in the correlation channel. Times are Redis' own, in ms, so that replicas agree."""

    channel: Channel
    flights: Flights
    tailer: Tailer

    async def open(self, who: Principal, kind: str, question: str, seconds: float, **fields: str) -> str:
        """A new ask with its `queued` frame, which must be done within `seconds`: its id, 128 random bits."""
        ask_id, created = secrets.token_hex(16), self.tailer.now_ms()
        await self.channel.open(
            ask_id,
            {"id": ask_id},
            tenant=who.tenant,
            owner=who.id,
            kind=kind,
            question=question,
            created=created,
            deadline=created + int(seconds * 1000),
            **fields,
        )
        return ask_id

    async def own(self, who: Principal, ask_id: str, kind: str) -> Ask:
        """What is known of the principal's own ask. Raises NotFound for unknown and foreign ones alike."""
        found = await self.channel.ask(ask_id) if _ID.match(ask_id) else None
        if found is None or (found.get("tenant"), found.get("owner"), found.get("kind")) != (who.tenant, who.id, kind):
            raise NotFound("there is no such answer, or it is somebody else's")
        return {"id": ask_id, **found}

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

    async def cancel(self, who: Principal, ask_id: str) -> None:
        """End an ask by its asker's will, and his part in its flight."""
        final = {"status": channel.CANCELLED, "reason": "cancelled by its asker", "finished_at": self.tailer.now_ms()}
        await self.channel.append(ask_id, channel.CANCELLED, final)
        ask = await self.own(who, ask_id, ANSWER)  # it may have joined its flight just before
        if "flight" in ask:
            await self.flights.leave(ask["flight"], ask_id)

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


def late(ask: Ask) -> DeadlineExceeded:
    """Nothing came by the ask's deadline."""
    seconds = (int(ask["deadline"]) - int(ask["created"])) / 1000
    return DeadlineExceeded(f"nothing came within {seconds:g} s")
