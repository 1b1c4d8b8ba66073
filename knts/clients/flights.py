"""Flights: the one generation that answers a question, shared by everybody who asks it meanwhile.

A flight has a stream of frames, a lease that its leader holds, and a list of askers. Whoever joins a flight whose
lease is gone takes it over; whoever lost the lease writes nothing. What must be atomic is a Lua script each, in
`lua/flight_*.lua`; the times in them are Redis' own, so that no replica's clock matters.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from knts import channel
from knts.clients.redis import Redis, Script, failures
from knts.flights import HELD, LEADER, FlightGone, Joined, LeaseLost
from knts.line import Place

LEASE_MS = 5_000  # a dead leader is replaced after this long
RENEW_SECONDS = 0.1  # how often a leader renews: also how soon it learns that nobody waits any more
LISTENER_MS = 30_000  # a listener who was not seen for this long counts as gone
AGAIN_MS = 10_000  # a flight that nobody leads is published again at most this often
FRAMES = 1000  # of a stream that are read at once

_join = Script("flight_join")
_append = Script("flight_append")
_renew = Script("flight_renew")
_release = Script("flight_release")
_abandon = Script("flight_abandon")
_seen = Script("flight_seen")


Frames = Sequence[tuple[str, dict[str, Any]]]


class Flights:
    """Flights in the durable Redis."""

    def __init__(self, redis: Redis, *, lease_ms: int = LEASE_MS, listener_ms: int = LISTENER_MS) -> None:
        self.redis = redis
        self.lease_ms = lease_ms
        self.listener_ms = listener_ms

    async def join(self, key: str, ask_id: str, *, event_id: str = "", anew: bool = False) -> Joined:
        """Create, follow or take over the flight of an answer key; `joined` is written to the ask, once.

        With `anew` a flight that is already finished is not joined. An ask that belongs to a flight goes back to it,
        whatever the key; where another event of the same ask (it may have been published again) leads, it follows. The
        ask's field `async` = "1" keeps it among the askers though nobody listens.
        """
        flight, token = secrets.token_hex(16), secrets.token_hex(16)
        keys = [f"knts:flight:{key}", channel.ask_key(ask_id), channel.frames_key(ask_id)]
        limits = [self.lease_ms, channel.STREAM_MS, channel.FINAL_MS, int(anew), self.listener_ms]
        reply = await _join(self.redis, keys, [ask_id, flight, token, *limits, event_id])
        role, *rest = [part.decode() for part in reply]
        flight, extra = (*rest, "", "")[:2]
        if role == LEADER:
            return Joined(role, flight, token, streamed=extra)
        return Joined(role, flight, led=extra == "1", retry_after=int(extra) / 1000 if role == HELD else 0.0)

    async def append(self, flight: str, token: str, frames: Frames, *, writer: str = "") -> None:
        """Write frames, all or none; `writer` is the digest of the model whose words their deltas are.

        Raises LeaseLost or FlightGone, in which case none was written.
        """
        await self._write(flight, token, frames, writer, "", b"")

    async def end(self, flight: str, token: str, frames: Frames, final: dict[str, Any]) -> None:
        """Write the last frames; `final["status"]` is the type of the very last, and `final` its data, kept for 24 h.

        Raises LeaseLost or FlightGone, in which case nothing was written.
        """
        status = final["status"]
        await self._write(flight, token, [*frames, (status, final)], "", status, orjson.dumps(final))

    async def _write(self, flight: str, token: str, frames: Frames, writer: str, state: str, final: bytes) -> None:
        parts = [part for frame_type, data in frames for part in (frame_type, orjson.dumps(data))]
        limits = [self.lease_ms, channel.STREAM_MS, channel.FINAL_MS]
        keys = [_key(part, flight) for part in ("lease", "flow", "flight-info", "askers", "flight-final")]
        reply = await _append(self.redis, keys, [token, *limits, writer, state, final, *parts])
        if reply == b"lost":
            raise LeaseLost("the flight's lease is no longer ours", retry_after=1)
        if reply == b"gone":
            raise FlightGone("the flight has expired or was purged", retry_after=1)

    async def renew(self, flight: str, token: str, place: Place, cancelled: dict[str, Any]) -> int:
        """Keep the lease, and the slot where the place is one; the number of askers that still wait.

        With 0 the flight is over: it has ended in the same step, `cancelled` is its final object. Raises LeaseLost.
        """
        keys = [_key(part, flight) for part in ("lease", "flow", "flight-info", "askers", "flight-final")]
        limits = [self.lease_ms, channel.STREAM_MS, channel.FINAL_MS, self.listener_ms]
        slots, holder = place.slot_of(token)
        reply = await _renew(self.redis, [*keys, slots], [token, *limits, orjson.dumps(cancelled), holder])
        if reply < 0:
            raise LeaseLost("the flight's lease is no longer ours", retry_after=1)
        return int(reply)

    async def release(self, flight: str, token: str) -> None:
        """Give up the lease, if it is ours: our event will be delivered again."""
        await _release(self.redis, [_key("lease", flight), _key("flight-info", flight)], [token])

    async def text(self, flight: str) -> tuple[str, int]:
        """What readers of a flight have: its deltas since the last reset, joined; and when the first came, in ms."""
        text, began, after = "", 0, "-"
        while True:
            with failures():
                entries = await self.redis.xrange(channel.flow_key(flight), min=after, count=FRAMES)
            for entry_id, fields in entries:
                if fields[b"type"] == channel.RESET.encode():
                    text, began = "", 0
                elif fields[b"type"] == channel.DELTA.encode():
                    began = began or int(entry_id.split(b"-")[0])
                    text += orjson.loads(fields[b"data"])["text"]
                after = f"({entry_id.decode()}"
            if len(entries) < FRAMES:
                return text, began

    async def leave(self, flight: str, ask_id: str) -> None:
        """An asker does not wait any more; the leader sees it when it renews and cancels if he was the last."""
        with failures():
            await self.redis.zrem(_key("askers", flight), ask_id)

    async def seen(self, flight: str, ask_ids: Iterable[str]) -> bool:
        """These asks are still listened to. Ingress says so every few seconds for those that it serves.

        True where somebody has to publish one of them again, since the flight's leader is dead or frozen and did not
        give the flight up. Of all who ask at the same time one is told so.
        """
        keys = [_key(part, flight) for part in ("askers", "flight-info", "lease", "flow")]
        return bool(await _seen(self.redis, keys, [AGAIN_MS, *ask_ids]))

    async def abandon(self, flight: str, ask_id: str, final: dict[str, Any]) -> str:
        """End a flight as failed because its leader's event, that of `ask_id`, will not be delivered again.

        Gives 'ended', 'held' (another delivery of this event still works on it), 'other' (not this ask's to end, or
        over already) or 'gone'. `final` has the status `failed`, a reason and a problem.
        """
        keys = [_key(part, flight) for part in ("lease", "flow", "flight-info", "flight-final")]
        limits = [channel.STREAM_MS, channel.FINAL_MS]
        return str((await _abandon(self.redis, keys, [ask_id, *limits, orjson.dumps(final)])).decode())

    async def final(self, flight: str) -> dict[str, Any] | None:
        """The final object of a flight that has ended within 24 hours, else None."""
        with failures():
            stored = await self.redis.get(_key("flight-final", flight))
        return orjson.loads(stored) if stored else None


def _key(part: str, flight: str) -> str:
    return f"knts:{part}:{flight}"
