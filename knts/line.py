"""The words of a model's line: tickets, places, and what is told of them. Pure.

Whoever asks what is not answered yet takes a **ticket** before anything is published for him. Those who ask the same
share one. The leader of a flight turns it into one of the model's **slots**.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

TENANT = 16  # characters at the beginning of a ticket that stand for its tenant


@dataclass(frozen=True)
class Place:
    """Where a ticket stands: `place` is 0 where it need not wait, else how many slots must be given back before it.

    `held_ms` is how long one of the model's `slots` is held as a rule, 0 when that is not known; `tag` the ticket's
    virtual time, by which it gets its place back.
    """

    model: str
    ticket: str
    place: int = 0
    held_ms: int = 0
    slots: int = 1
    tag: str = ""

    @property
    def expected_ms(self) -> int | None:
        """How long it will take until the turn comes, None when nothing is known of it."""
        return round(self.place * self.held_ms / self.slots) if self.held_ms else None

    @property
    def told(self) -> dict[str, Any]:
        """The data of a `queued` frame; empty once nobody is before it."""
        if not self.place:
            return {}
        expected = self.expected_ms
        return {"position": self.place, **({} if expected is None else {"expected_ms": expected})}

    def slot_of(self, token: str) -> tuple[str, str]:
        """The key of the model's slots, and the name among them of the leader with this lease token."""
        return f"{line_key(self.model)}slots", f"{token} {self.ticket}"


@dataclass(frozen=True)
class Wanted:
    """A ticket that an ask is opened with: for which model, beside how many others at most, and until when (ms)."""

    model: str
    ticket: str
    most: int
    deadline_ms: int


def line_key(model: str) -> str:
    """What the names of all keys of a model's line begin with."""
    return f"knts:line:{model}:"


def ticket_of(tenant: str, question_key: str) -> str:
    """The ticket of a question, whose key covers all that must be the same for two to share it."""
    return f"{hashlib.sha256(tenant.encode()).hexdigest()[:TENANT]}:{question_key}"


def model_name(name: str) -> str:
    """A model's name as Ollama lists it: without a tag, the latest is meant."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
