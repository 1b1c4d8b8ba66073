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
    """The questions on their way to a flight, `most` at a time, none for longer than `longest` seconds.

    Who asks may read his answer elsewhere, so that nobody here would tell of its arrival. The number is fixed, and
    large, for the sake of a crowd that asks the same at once: it costs much for some seconds, and then one answer.
    """

    most: int
    longest: float = 30.0
    under_way: dict[str, float] = field(default_factory=dict)  # ask id -> when it counts no more, in their order

    def enter(self, ask_id: str) -> None:
        """A question sets out. Raises Busy when too many are on the road."""
        now = time.monotonic()
        while self.under_way and self.under_way[oldest := next(iter(self.under_way))] <= now:
            del self.under_way[oldest]
        if len(self.under_way) >= self.most:
            raise Busy(f"{self.most} questions are on their way from here already", retry_after=RETRY_SECONDS)
        self.under_way[ask_id] = now + self.longest

    def arrived(self, ask_id: str) -> None:
        """It has reached its flight, or its end."""
        self.under_way.pop(ask_id, None)


@dataclass
class Doors:
    """All of a replica's."""

    searches: Door
    changes: Door
    loads: Door
    streams: Door
    road: Road
