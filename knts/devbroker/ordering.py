"""Ordered delivery: of the events that share a `partitionkey` the oldest goes first and alone; other keys go on. Pure.

A key is held from an event's first attempt until it is done with: delivered, dead-lettered or given up.
"""

import heapq

Place = tuple[int, int]  # of an entry in its stream: milliseconds and a number, as Redis' ids have them


class Order:
    """The entries of one ordered stream that the broker has taken: one of each key goes, the others wait behind it."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._waiting: dict[str, list[tuple[Place, str]]] = {}

    def enter(self, entry_id: str, key: str) -> bool:
        """Whether a taken entry may be delivered now; else it waits. One without a key has nothing to wait for."""
        if not key:
            return True
        self._keys[entry_id] = key
        if key not in self._waiting:
            self._waiting[key] = []
            return True
        heapq.heappush(self._waiting[key], (place(entry_id), entry_id))
        return False

    def leave(self, entry_id: str) -> str | None:
        """An entry that went is done with; the next of its key, which may be delivered now."""
        key = self._keys.pop(entry_id, None)
        if key is None:
            return None
        if not self._waiting[key]:
            del self._waiting[key]
            return None
        return heapq.heappop(self._waiting[key])[1]

    def waiting(self) -> list[str]:
        """Every entry that waits for others of its key, oldest first."""
        return [entry_id for _, entry_id in sorted(entry for queue in self._waiting.values() for entry in queue)]

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))


def place(entry_id: str) -> Place:
    """Where an entry stands in its stream."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
