"""How much one replica takes on at a time. Whoever comes then is told at once when to come back, and costs nothing."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from knts.errors import Busy

RETRY_SECONDS = 1.0


@dataclass
class Door:
    """Lets `most` in at a time; `what` they are, in the plural."""

    most: int
    what: str
    inside: int = 0

    def check(self) -> None:
        """Raises Busy when it is full."""
        if self.inside >= self.most:
            raise Busy(f"this server has its {self.most} {self.what} under way already", retry_after=RETRY_SECONDS)

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        """Be inside until exit. Raises Busy when it is full."""
        self.check()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


@dataclass
class Road:
    """The questions on their way to a flight: `most` at a time, none for longer than `seconds`.

    Who asks may read his answer elsewhere, so that nobody here would tell of its arrival.
    """

    most: int
    seconds: float = 30.0
    under_way: dict[str, float] = field(default_factory=dict)  # ask id -> when it counts no more, in their order

    def enter(self, ask_id: str) -> None:
        """A question sets out. Raises Busy when too many are on the road."""
        now = time.monotonic()
        while self.under_way and (oldest := next(iter(self.under_way))) and self.under_way[oldest] <= now:
            del self.under_way[oldest]
        if len(self.under_way) >= self.most:
            raise Busy(f"{self.most} questions are on their way from here already", retry_after=RETRY_SECONDS)
        self.under_way[ask_id] = now + self.seconds

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
