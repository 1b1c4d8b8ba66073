"""Administration of the collection that holds the chunks: created at first use, behind an alias that searches go to.

The alias lets a new collection be filled beside the old one and then take its place; here it is only ever set when it
does not exist yet. By the PyPI client; everything frequent goes through `knts.clients.typesense`.
"""

import asyncio
import contextlib
import hashlib
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
from typesense.async_.aliases import AsyncAliases
from typesense.async_.api_call import AsyncApiCall
from typesense.async_.collections import AsyncCollections
from typesense.configuration import Configuration
from typesense.exceptions import ObjectAlreadyExists, TypesenseClientError

from knts.clients.typesense import Missing, Typesense
from knts.errors import Temporary
from knts.schemas import SCHEMAS
from knts.settings import TypesenseServer


def schema(alias: str) -> dict[str, Any]:
    """The collection's schema from `schemas/typesense-collection.json`, under a name that changes with the schema."""
    source = (SCHEMAS / "typesense-collection.json").read_bytes()
    return {"name": f"{alias}_{hashlib.sha256(source).hexdigest()[:8]}", **orjson.loads(source)}


class Collection:
    """The collection behind the alias `typesense.server.collection`."""

    def __init__(self, typesense: Typesense) -> None:
        self.typesense = typesense
        self._known = False
        self._lock = asyncio.Lock()

    async def ensure(self) -> None:
        """Create collection and alias unless they exist; known to exist, nothing is asked.

        Replicas may race: the collection's name is the same for all, and who comes second finds it there.
        Raises Temporary when Typesense is not available.
        """
        async with self._lock:
            if not self._known:
                try:
                    await self.typesense.request("GET", f"/collections/{self.typesense.server.collection}")
                except Missing:
                    await _create(self.typesense.server)
                self._known = True

    def forget(self) -> None:
        """Look again at the next `ensure`: somebody has dropped it."""
        self._known = False


async def _create(server: TypesenseServer) -> None:
    wanted = schema(server.collection)
    try:
        async with AsyncApiCall(Configuration(_configuration(server))) as calls:
            with contextlib.suppress(ObjectAlreadyExists):
                await AsyncCollections(calls).create(wanted)  # type: ignore[arg-type]  # its type wants literals
            await AsyncAliases(calls).upsert(server.collection, {"collection_name": wanted["name"]})
    except (TypesenseClientError, httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise Temporary(f"Typesense can't create the collection: {reason}", retry_after=2) from error


def _configuration(server: TypesenseServer) -> Any:
    url = urlsplit(server.url)
    node = {
        "protocol": url.scheme,
        "host": url.hostname,
        "port": url.port or (443 if url.scheme == "https" else 80),
        "path": url.path,
    }
    return {
        "nodes": [node],
        "api_key": server.api_key,
        "connection_timeout_seconds": server.timeout,
        "num_retries": 0,
    }
