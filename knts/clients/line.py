"""The line before each model: the slots that leaders of flights take for the tickets that asks are opened with.

All of it lies in the durable Redis, so that it holds over all replicas; `lua/include/line.lua` tells how. A ticket
never leaks: the end of its last ask gives it up, and so does the deadline.
"""

import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator

from knts import telemetry
from knts.clients.redis import Redis, Script
from knts.errors import Temporary
from knts.line import Place, line_key, model_name

log = logging.getLogger(__name__)

LEASE_MS = 5_000  # a leader that was not seen for this long keeps nobody waiting, and holds no slot any more
SPARE = "spare"  # stands for the ticket of who has none

_slot = Script("slot_take")
_slot_spare = Script("slot_spare")
_slot_leave = Script("slot_leave")


class Line:
    """The lines of all models."""

    def __init__(self, redis: Redis, *, lease_ms: int = LEASE_MS) -> None:
        self.redis = redis
        self.lease_ms = lease_ms

    async def slot(self, place: Place, token: str, slots: int) -> Place:
        """The place as it is now: 0 when the holder of this lease token has one of the model's `slots`.

        Ask again within the lease's time, or it counts for nobody; its place is not lost by that.
        """
        found = await _slot(self.redis, [line_key(place.model)], [place.ticket, token, slots, self.lease_ms, place.tag])
        now, tag, held, slots = found
        return Place(place.model, place.ticket, int(now), int(held), int(slots), tag.decode())

    @contextlib.asynccontextmanager
    async def spare(self, model: str, seconds: float) -> AsyncIterator[bool]:
        """One of the model's slots for at most `seconds`, if one is free now that no leader waits for; whether it is.

        How many there are is what a leader said last: one, where none has yet. Raises Temporary.
        """
        key, token = line_key(model_name(model)), secrets.token_hex(8)
        free = bool(await _slot_spare(self.redis, [key], [SPARE, token, round(seconds * 1000)]))
        try:
            yield free
        finally:
            if free:
                try:
                    await _slot_leave(self.redis, [key], [SPARE, token, 0])
                except Temporary as error:
                    log.warning("a slot will run out by itself: %s", error.detail)

    @contextlib.contextmanager
    def waiting(self, model: str) -> Iterator[None]:
        """Around a wait for one of the model's slots: counted while it lasts, and timed if it led to a slot."""
        began = time.perf_counter()
        with _counted(model, "waiting"):
            yield
        telemetry.observe("knts.model.wait", time.perf_counter() - began, _label(model))

    def writing(self, model: str) -> contextlib.AbstractContextManager[None]:
        """Around what is done while a slot is held; counted while it lasts."""
        return _counted(model, "writing")

    async def done(self, place: Place, token: str, held_ms: float = 0) -> None:
        """Give the slot back. `held_ms` is how long it was held, where that says how long answers take."""
        await _slot_leave(self.redis, [line_key(place.model)], [place.ticket, token, int(held_ms)])


@contextlib.contextmanager
def _counted(model: str, state: str) -> Iterator[None]:
    labels = {**_label(model), "state": state}
    telemetry.add("knts.model.flights", 1, **labels)
    try:
        yield
    finally:
        telemetry.add("knts.model.flights", -1, **labels)


def _label(model: str) -> dict[str, str]:
    return {"gen_ai.request.model": model[:128]}
