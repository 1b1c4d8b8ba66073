"""Creating a collection and its alias by the PyPI client.

A module of its own, imported when it is needed: the client is a quarter of what a function's start imports.
"""

import contextlib
from typing import Any
from urllib.parse import urlsplit

import httpx
from typesense.async_.aliases import AsyncAliases
from typesense.async_.api_call import AsyncApiCall
from typesense.async_.collections import AsyncCollections
from typesense.configuration import Configuration
from typesense.exceptions import ObjectAlreadyExists, TypesenseClientError

from knts.errors import IndexUnavailable
from knts.settings import TypesenseServer


async def create(server: TypesenseServer, wanted: dict[str, Any]) -> None:
    """Create the collection and point the alias at it; one that exists is left as it is. Raises IndexUnavailable."""
    try:
        async with AsyncApiCall(Configuration(_configuration(server))) as calls:
            with contextlib.suppress(ObjectAlreadyExists):
                await AsyncCollections(calls).create(wanted)  # type: ignore[arg-type]  # its type wants literals
            await AsyncAliases(calls).upsert(server.collection, {"collection_name": wanted["name"]})
    except (TypesenseClientError, httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise IndexUnavailable(f"Typesense can't create the collection: {reason}", retry_after=2) from error


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
