"""A passage that search can't read, so that every request which finds it fails, however often it is tried."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from knts.clients.typesense import Typesense
from knts.settings import TypesenseServer


@contextlib.asynccontextmanager
async def poisoned(home: Path, document_id: str) -> AsyncIterator[None]:
    """The passages of a document of a local run are spoilt as long as this lasts. Nobody may have searched for them."""
    url = json.loads((home / "run.json").read_text())["env"]["TYPESENSE_URL"]
    server = TypesenseServer(url=url, api_key=(home / "secrets" / "typesense-key").read_text().strip())
    async with Typesense(server) as typesense:
        documents = f"/collections/{server.collection}/documents"
        lines = (await typesense.call("GET", f"{documents}/export")).splitlines()
        mine = [chunk for chunk in map(orjson.loads, lines) if chunk["document_id"] == document_id]
        assert mine
        for chunk in mine:
            await typesense.request("PATCH", f"{documents}/{chunk['id']}", json={"text": None})
        try:
            yield
        finally:
            for chunk in mine:
                await typesense.request("PATCH", f"{documents}/{chunk['id']}", json={"text": chunk["text"]})
