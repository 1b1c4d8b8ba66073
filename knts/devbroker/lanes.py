"""What the broker remembers of one stream while it runs: its slots, and which entries are where on their way.

Only ids are remembered of what waits for another attempt or for its turn; an event is in memory while it is delivered.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from knts.devbroker.delivery import Policy
from knts.devbroker.entries import Entry
from knts.devbroker.manifests import Trigger
from knts.devbroker.ordering import Order


@dataclass
class Lane:
    """A stream and its deliveries: to a Trigger's subscriber, or, if `dead`, to its dead-letter sink.

    `behind` says that entries may lie in the stream which nobody has; `suspect` that some may be ours without our
    knowing: after a start, or when an answer of Redis was lost. `order` is there where the Trigger asks for it.
    """

    stream: str
    trigger: Trigger
    dead: bool
    active: bool = True
    running: int = 0
    behind: bool = True
    suspect: bool = True
    recovering: bool = False
    order: Order | None = None
    due: deque[str] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def follow(self, trigger: Trigger) -> None:
        """Work for this Trigger from now on; an order that it newly asks for holds for all but what is under way."""
        self.trigger, self.active = trigger, True
        ordered = trigger.ordered and not self.dead
        if ordered and self.order is None:
            for timer in self.timers.values():
                timer.cancel()
            self.known -= {*self.timers, *self.due}
            self.timers.clear()
            self.due.clear()
            self.order, self.suspect = Order(), True  # what waited is found again, and then in order
        elif self.order is not None and not ordered:
            self.due.extend(self.order.waiting())
            self.order = None

    @property
    def policy(self) -> Policy:
        return self.trigger.policy

    @property
    def target(self) -> str:
        """Where its entries go; empty where the Trigger has no dead-letter sink (any more)."""
        return self.policy.dead_letter or "" if self.dead else self.trigger.subscriber

    @property
    def unsure(self) -> bool:
        """Whether an entry that goes now could overtake an older one which we don't know of yet."""
        return self.order is not None and (self.suspect or self.recovering)

    @property
    def free(self) -> int:
        """How many more deliveries may start."""
        able = self.active and self.target and not self.unsure
        return max(0, self.trigger.parallelism - self.running) if able else 0

    def reserve(self) -> bool:
        """Take a slot, where there is one."""
        if self.free == 0:
            return False
        self.running += 1
        return True

    def admit(self, entry: Entry) -> bool:
        """Whether an entry that was just taken is to be delivered now; else it is, or will be, seen to in its turn."""
        if entry.id in self.known:  # it was found pending before the answer that gave it to us was read
            return False
        if self.unsure:
            self.suspect = True  # it is pending, and found among the others
            return False
        return self.enter(entry.id, entry.key)

    def enter(self, entry_id: str, key: str) -> bool:
        """Know an entry from now on; whether it may be delivered, or waits for others of its key."""
        self.known.add(entry_id)
        return self.order is None or self.order.enter(entry_id, key)

    def forget(self, entry_id: str) -> None:
        """The entry is done with; the next of its key is due."""
        self.known.discard(entry_id)
        self.attempts.pop(entry_id, None)
        if self.order is not None and (following := self.order.leave(entry_id)):
            self.due.append(following)
