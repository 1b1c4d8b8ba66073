"""A look at what flows: accepted events and deliveries as Server-Sent Events, for whoever listens.

A development aid: a slow listener loses the oldest ones and is told how many; the broker never waits for him.
"""

import asyncio
from collections import deque
from typing import Any

import orjson

BUFFER = 1000
HEARTBEAT = 15.0


class Listener:
    """One who listens: up to `BUFFER` messages wait for him."""

    def __init__(self, broker: tuple[str, str], size: int = BUFFER) -> None:
        self.broker = broker
        self.missed = 0
        self._messages: deque[bytes] = deque(maxlen=size)
        self._arrived = asyncio.Event()

    def tell(self, message: bytes) -> None:
        """Let a message wait for him; the oldest makes room."""
        self.missed += len(self._messages) == self._messages.maxlen
        self._messages.append(message)
        self._arrived.set()

    async def next(self, heartbeat: float = HEARTBEAT) -> bytes:
        """All that waits for him, as Server-Sent Events; a comment when there is nothing for `heartbeat` seconds."""
        try:
            await asyncio.wait_for(self._arrived.wait(), heartbeat)
        except TimeoutError:
            return b": nothing new\n\n"
        self._arrived.clear()
        waiting = b"".join(self._messages)
        self._messages.clear()
        missed, self.missed = self.missed, 0
        return (message("missed", {"messages": missed}) if missed else b"") + waiting


class Tap:
    """Hands messages to those who listen."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()

    def tell(self, broker: tuple[str, str], event: str, data: dict[str, Any]) -> None:
        """Tell the listeners of a broker."""
        listeners = [listener for listener in self.listeners if listener.broker == broker]
        if not listeners:
            return
        text = message(event, data)
        for listener in listeners:
            listener.tell(text)


def message(event: str, data: dict[str, Any]) -> bytes:
    """One Server-Sent Event."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(data))
