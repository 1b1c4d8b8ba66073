"""Ingress as it is wired: the same story, with each answer's end counted and its waiting clients known."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from functions.ingress.access import Principal
from functions.ingress.asks import Event
from functions.ingress.conversations import Before
from functions.ingress.handler import Begun, Ingress, Position
from knts import channel, telemetry

CACHES = frozenset({"miss", "hit", "shared", "semantic"})


@dataclass(kw_only=True)
class Measured(Ingress):
    """Ingress with metrics; a client that reads an answer's end again counts again."""

    async def begin(self, who: Principal, request: dict[str, Any], before: Before | None = None) -> Begun:
        """As Ingress does."""
        begun = await super().begin(who, request, before)
        if begun.events:
            _, status, answer = begun.events[-1]
            ended(status, answer)
        return begun

    async def follow(
        self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None
    ) -> AsyncGenerator[Event]:
        """As Ingress does."""
        telemetry.correlate(ask_id)
        telemetry.add("knts.waiting", 1)
        try:
            following = cast(AsyncGenerator[Event], super().follow(who, ask_id, after, heartbeat=heartbeat))
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    if event[1] in channel.LAST:
                        ended(event[1], event[2])
                    yield event
        finally:
            telemetry.add("knts.waiting", -1)


def ended(status: str, answer: Mapping[str, Any]) -> None:
    """Count an answer's end and how long its client waited for the first word and for all of it."""
    cache = answer.get("cache")
    labels = {"status": status, "cache": cache if cache in CACHES else "none"}
    telemetry.count("knts.answers", **labels)
    telemetry.count("knts.answers.stale", int(bool(answer.get("stale"))), cache=labels["cache"])
    timings = answer.get("timings_ms") or {}
    for name, key in (("knts.answer.first_token", "first_token"), ("knts.answer.duration", "total")):
        if (milliseconds := timings.get(key)) is not None:
            telemetry.observe(name, milliseconds / 1000, labels)
