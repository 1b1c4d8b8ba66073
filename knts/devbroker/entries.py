"""What lies in the queue: an event as it stands in a stream, what is noted of it, and how both are written down."""

from dataclasses import dataclass
from typing import Any

import orjson

from knts.events import Event


@dataclass(frozen=True)
class Entry:
    """An event in a stream, with the trace context it was published under."""

    id: str
    event: Event
    trace: str

    @property
    def key(self) -> str:
        """What the events that must keep their order have in common; empty for one that has no order to keep."""
        return self.event.attributes.get("partitionkey", "")


@dataclass(frozen=True)
class Note:
    """What is known of a failed entry: attempts so far, and when (epoch seconds) the next is due."""

    attempts: int
    due: float


@dataclass(frozen=True)
class Moved:
    """What a move gave us to deliver: an entry for each stream it put into, and the cause's successor."""

    taken: tuple[Entry | None, ...]
    successor: Entry | None


def queue_key(trigger: str) -> str:
    """The stream of a Trigger given as `namespace/name`."""
    return f"knts:broker:q:{trigger}"


def dead_key(trigger: str) -> str:
    """The stream of its dead letters on their way to the sink."""
    return f"knts:broker:dead:{trigger}"


def retries_key(stream: str) -> str:
    """The hash beside a stream in which failed attempts are noted."""
    return f"{stream}:retries"


def fields(entry: Entry) -> tuple[bytes, bytes, str]:
    """Attributes, data and trace as the stream holds them."""
    return orjson.dumps(dict(entry.event.attributes)), entry.event.data, entry.trace


def entry(entry_id: bytes, named: list[bytes] | dict[bytes, bytes]) -> Entry:
    """An entry as a stream gives it back: its fields by name, or names and values in turn."""
    if not isinstance(named, dict):
        named = dict(zip(named[::2], named[1::2], strict=True))
    event = Event(orjson.loads(named[b"attributes"]), named[b"data"])
    return Entry(entry_id.decode(), event, named.get(b"trace", b"").decode())


def taken(item: Any, out: Entry | None) -> Entry | None:
    """A taken entry in the script's reply: nothing, the id of what was just put, or an id with its fields."""
    if not item:
        return None
    if isinstance(item, bytes) and out is not None:
        return Entry(item.decode(), out.event, out.trace)
    return entry(item[0], item[1])


def noted(note: Note) -> bytes:
    """A note as it is kept."""
    return orjson.dumps({"attempts": note.attempts, "due": note.due})


def note(text: bytes | None) -> Note | None:
    """A kept note read back; None where there is none."""
    return Note(**orjson.loads(text)) if text else None
