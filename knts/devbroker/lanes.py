"""What the broker remembers of one stream while it runs: its slots, and which entries are where on their way.

Only ids are remembered of what waits for another attempt; an event is in memory while it is being delivered.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from knts.devbroker.delivery import Policy
from knts.devbroker.manifests import Trigger


@dataclass
class Lane:
    """A stream and its deliveries: to a Trigger's subscriber, or, if `dead`, to its dead-letter sink.

    `behind` says that entries may lie in the stream which nobody has; `suspect` that some may be ours without our
    knowing: after a start, or when an answer of Redis was lost.
    """

    stream: str
    trigger: Trigger
    dead: bool
    active: bool = True
    running: int = 0
    behind: bool = True
    suspect: bool = True
    due: deque[str] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        return self.trigger.policy

    @property
    def target(self) -> str:
        """Where its entries go; empty where the Trigger has no dead-letter sink (any more)."""
        return self.policy.dead_letter or "" if self.dead else self.trigger.subscriber

    @property
    def free(self) -> int:
        """How many more deliveries may start."""
        return max(0, self.trigger.parallelism - self.running) if self.active and self.target else 0

    def reserve(self) -> bool:
        """Take a slot, where there is one."""
        if self.free == 0:
            return False
        self.running += 1
        return True

    def forget(self, entry_id: str) -> None:
        """The entry is done with."""
        self.known.discard(entry_id)
        self.attempts.pop(entry_id, None)
