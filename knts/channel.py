"""The words of the correlation channel: frame types, key names and positions. No I/O.

A person who waits has an **ask**: a hash with what is known of it, and a stream of frames. The one generation that
answers a question is a **flight** with a stream of its own, which any number of asks follow.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

STREAM_MS = 15 * 60 * 1000  # a stream lives this long after its last frame
FINAL_MS = 24 * 60 * 60 * 1000  # asks and finished answers are kept this long

QUEUED, PASSAGES, JOINED, RESULT = "queued", "passages", "joined", "result"
DELTA, RESET, CITATION = "delta", "reset", "citation"
COMPLETED, ABSTAINED, FAILED, CANCELLED = "completed", "abstained", "failed", "cancelled"
LAST = frozenset({RESULT, COMPLETED, ABSTAINED, FAILED, CANCELLED})  # the frames that end an ask or a flight


def ask_key(correlation_id: str) -> str:
    """The ask's hash."""
    return f"knts:ask:{correlation_id}"


def frames_key(correlation_id: str) -> str:
    """The ask's stream; also the pub/sub channel that tells of its growth."""
    return f"knts:frames:{correlation_id}"


def flow_key(flight_id: str) -> str:
    """The flight's stream; also the pub/sub channel that tells of its growth."""
    return f"knts:flow:{flight_id}"


@dataclass(frozen=True)
class Frame:
    """One step of an answer: `id` is its entry id in the stream it came from."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        return self.type in LAST


@dataclass(frozen=True)
class Position:
    """How far a reader is: the entry ids in the ask's stream and in the flight's."""

    ask: str = "0"
    flight: str = "0"

    def token(self) -> str:
        """The opaque text that clients get as the SSE id."""
        return base64.urlsafe_b64encode(f"{self.ask}.{self.flight}".encode()).decode().rstrip("=")


def position(token: str) -> Position:
    """The position that a client names as `Last-Event-ID`. Raises ValueError for what `token()` never made."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        raise ValueError("not a position of this stream") from None
    ask, dot, flight = text.partition(".")
    if not dot or not _entry_id(ask) or not _entry_id(flight):
        raise ValueError("not a position of this stream")
    return Position(ask, flight)


def _entry_id(text: str) -> bool:
    parts = text.split("-")
    return len(parts) <= 2 and all(
        part.isascii() and part.isdigit() and len(part) <= 20 and int(part) < 2**64 for part in parts
    )


def entry_order(entry_id: str) -> tuple[int, int]:
    """What entry ids of Redis streams are ordered by: milliseconds, then a count."""
    ms, _, count = entry_id.partition("-")
    return int(ms), int(count or 0)
