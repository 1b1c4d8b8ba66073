"""Administration of the collection that holds the chunks: created at first use, behind an alias that searches go to.

The alias lets a new collection be filled beside the old one and then take its place; here it is only ever set when it
does not exist yet. How it is created: `knts.clients.typesense_creation`.
"""

import asyncio
import hashlib
import time
from typing import Any

import orjson

from knts.clients.typesense import Missing, Typesense
from knts.schemas import SCHEMAS

KNOWN_SECONDS = 1.0  # who points the alias elsewhere waits longer before he drops the old collection


def schema(alias: str) -> dict[str, Any]:
    """The collection's schema from `schemas/typesense-collection.json`, under a name that changes with the schema."""
    source = (SCHEMAS / "typesense-collection.json").read_bytes()
    return {"name": f"{alias}_{hashlib.sha256(source).hexdigest()[:8]}", **orjson.loads(source)}


class Collection:
    """The collection behind the alias `typesense.server.collection`.

    Writes name the collection itself and never its alias: Typesense replays its log after a start with one queue for
    each name in a path, so that writes by alias overtake the creation of the collection they go to, and are lost.
    """

    def __init__(self, typesense: Typesense) -> None:
        self.typesense = typesense
        self._name = ""
        self._looked_at = 0.0
        self._lock = asyncio.Lock()

    async def ensure(self) -> str:
        """The collection's name; collection and alias are created unless they exist.

        Replicas may race: the collection's name is the same for all, and who comes second finds it there.
        Raises IndexUnavailable when Typesense is not available.
        """
        try:
            return await self.name()
        except Missing:
            async with self._lock:
                await self._create()
            return await self.name()

    async def _create(self) -> None:
        from knts.clients.typesense_creation import create

        server = self.typesense.server
        await create(server, schema(server.collection))

    async def name(self) -> str:
        """The name that the alias stands for, at most `KNOWN_SECONDS` old. Raises Missing where there is none."""
        async with self._lock:
            if not self._name or time.monotonic() - self._looked_at > KNOWN_SECONDS:
                found = await self.typesense.request("GET", f"/collections/{self.typesense.server.collection}")
                self._name, self._looked_at = str(found["name"]), time.monotonic()
            return self._name

    def forget(self) -> None:
        """Look again at the next call: somebody has dropped it."""
        self._name = ""
