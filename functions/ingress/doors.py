"""How much one replica takes on at a time. Whoever comes then is told at once when to come back, and costs nothing."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from knts.errors import Busy

RETRY_SECONDS = 1.0
LEAST = 4  # that are always let in
LESS, MORE = 0.7, 0.5  # what is left of a limit when things take too long; what is added when one does not


@dataclass
class Limit:
    """How many may be under way: as many as are done within `seconds`, `most` at most.

    How much that is depends on the machine and on what else it does, so it is found out: the limit falls when something
    takes longer, once in so many seconds, and rises with each that does not. None of it is known to other replicas.
    """

    most: int
    seconds: float
    allowed: float = field(init=False)
    fell: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.allowed = float(self.most)

    def took(self, seconds: float, under_way: int, now: float) -> None:
        """One was done after so many seconds, when so many were under way."""
        if seconds <= self.seconds:
            self.allowed = min(float(self.most), self.allowed + MORE)
        elif now - self.fell >= self.seconds:
            self.allowed = max(float(LEAST), min(self.allowed, under_way) * LESS)
            self.fell = now


@dataclass
class Door:
    """Lets as many in as its limit allows, or, without `seconds`, `most`; `what` they are, in the plural."""

    most: int
    what: str
    seconds: float | None = None
    inside: int = 0
    limit: Limit = field(init=False)

    def __post_init__(self) -> None:
        self.limit = Limit(self.most, self.seconds or float("inf"))

    def check(self) -> None:
        """Raises Busy when it is full."""
        if self.inside >= self.limit.allowed:
            raise Busy(f"this server has {self.inside} {self.what} under way already", retry_after=RETRY_SECONDS)

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        """Be inside until exit. Raises Busy when it is full."""
        self.check()
        self.inside += 1
        began = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self.limit.took(now - began, self.inside, now)
            self.inside -= 1


@dataclass
class Road:
    """The questions on their way to a flight: `most` at a time, and none more while one has been for too long.

    The number is large, for the sake of a crowd that asks the same at once: it costs much for some seconds, and then
    one answer. Who asks may read his answer elsewhere, so that nobody here would tell of its arrival: such a one counts
    for `longest` seconds, and tells nothing of how long the road takes. Too long are `patience` seconds.
    """

    most: int
    patience: float
    longest: float = 30.0
    under_way: dict[str, float] = field(default_factory=dict)  # ask id -> when it set out, in their order
    followed: set[str] = field(default_factory=set)  # those of them that are read here

    def enter(self, ask_id: str) -> None:
        """A question sets out. Raises Busy when too many are on the road, or the road takes too long."""
        now = time.monotonic()
        for gone in [one for one, began in self.under_way.items() if now - began >= self.longest]:
            if gone not in self.followed:
                del self.under_way[gone]
        oldest = next((began for one, began in self.under_way.items() if one in self.followed), now)
        if len(self.under_way) >= self.most or now - oldest > self.patience:
            raise Busy(f"{len(self.under_way)} questions are on their way from here already", retry_after=RETRY_SECONDS)
        self.under_way[ask_id] = now

    def follow(self, ask_id: str) -> None:
        """It is read here."""
        if ask_id in self.under_way:
            self.followed.add(ask_id)

    def arrived(self, ask_id: str) -> None:
        """It has reached its flight, or its end, or nobody reads it here any more."""
        self.under_way.pop(ask_id, None)
        self.followed.discard(ask_id)


@dataclass
class Doors:
    """All of a replica's."""

    searches: Door
    changes: Door
    loads: Door
    streams: Door
    road: Road
