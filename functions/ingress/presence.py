"""Tells the flights whom this replica still serves, and hears from them when nobody leads them any more.

A listener nobody saw for 30 s counts as gone.
"""

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

from functions.ingress.ports import Flights
from knts.errors import KntsError
from knts.tasks import ended

log = logging.getLogger(__name__)

Again = Callable[[str], Awaitable[None]]


class Presence:
    """Who follows which flight here; several connections may follow one answer. `every` is in seconds."""

    def __init__(self, flights: Flights, *, every: float = 3.0) -> None:
        self._flights = flights
        self._every = every
        self._here: Counter[tuple[str, str]] = Counter()

    def here(self, flight: str, ask_id: str) -> None:
        """A connection follows the flight for this ask from now on."""
        self._here[flight, ask_id] += 1

    def gone(self, flight: str, ask_id: str) -> None:
        """It does no more."""
        self._here[flight, ask_id] -= 1
        if self._here[flight, ask_id] <= 0:
            del self._here[flight, ask_id]

    async def tell(self, again: Again) -> None:
        """Say once who is here; `again` publishes the question of an ask again whose flight has lost its leader."""
        asks: defaultdict[str, list[str]] = defaultdict(list)
        for flight, ask_id in self._here:
            asks[flight].append(ask_id)
        for flight, ask_ids in asks.items():
            if await self._flights.seen(flight, ask_ids):
                await again(ask_ids[0])

    @contextlib.asynccontextmanager
    async def telling(self, again: Again) -> AsyncIterator["Presence"]:
        """Say it again and again until exit."""
        task = asyncio.create_task(self._tell_forever(again))
        try:
            yield self
        finally:
            await ended(task)

    async def _tell_forever(self, again: Again) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.tell(again)
            except KntsError as error:
                log.warning("telling who is here: %s", error.detail)
            except Exception:
                log.exception("a bug in telling who is here")
