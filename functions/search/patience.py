"""How long one delivery goes on asking the index: somebody waits, and had better be told soon than late.

A call that fails is made again at once, twice: a connection that broke, a server that was restarted behind a load
balancer. Everything together must be done in so many seconds, however often an index answers nothing at all.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from functions.search.fusion import Nearness
from functions.search.retrieval import Index
from knts.errors import IndexUnavailable
from knts.lookup import Chunk, Found, Lookup, Scope

log = logging.getLogger(__name__)

WAITS = (0.1, 0.4)  # seconds between tries, up to half of them less

T = TypeVar("T")


class Patient:
    """An `Index` for one delivery. Calls raise IndexUnavailable at the latest `seconds` after it was made."""

    def __init__(self, index: Index, seconds: float) -> None:
        self.index = index
        self.seconds = seconds
        self.until = asyncio.get_running_loop().time() + seconds

    async def look_up(self, scope: Scope, lookups: Sequence[Lookup]) -> list[Found]:
        """As the index would."""
        return await self._tried(lambda: self.index.look_up(scope, lookups))

    async def texts(self, scope: Scope, lookups: Sequence[Lookup]) -> list[list[str]]:
        """As the index would."""
        return await self._tried(lambda: self.index.texts(scope, lookups))

    async def chunks(self, scope: Scope, ids: Sequence[str]) -> list[Chunk]:
        """As the index would."""
        return await self._tried(lambda: self.index.chunks(scope, ids))

    async def near(self, scope: Scope, text: str) -> Nearness | None:
        """As the index would."""
        return await self._tried(lambda: self.index.near(scope, text))

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]:
        """As the index would."""
        return await self._tried(lambda: self.index.embedded(scope, ids))

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout_at(self.until):
                for wait in WAITS:
                    try:
                        return await call()
                    except IndexUnavailable as error:
                        log.info("asking the index again: %s", error.detail)
                    await asyncio.sleep(wait * random.uniform(0.5, 1))
                return await call()
        except TimeoutError as error:
            raise IndexUnavailable(f"Typesense did not answer within {self.seconds:g} s", retry_after=1) from error
