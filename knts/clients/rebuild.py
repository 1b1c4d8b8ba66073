"""Puts lost records together again from what the index holds.

What the index does not hold is gone: tombstones, versions that were handed out and not indexed, reasons of refusals.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from knts.clients.chunks import Chunks
from knts.clients.records import Records
from knts.clients.typesense import Typesense

_FIELDS = "document,version,content,chunk,tenant_name,document_id,content_hash,chunks,title,url,acl"


async def rebuild(typesense: Typesense, records: Records) -> int:
    """Make current, in its record, each document's highest version of which every chunk is there; how many these are.

    Never lowers a record, so it may run while documents are indexed. Deletes what such a version has replaced.
    """
    path = f"/collections/{typesense.server.collection}/documents/export"
    reply = await typesense.call("GET", path, params={"include_fields": _FIELDS}, timeout=600)
    chunks = [orjson.loads(line) for line in reply.splitlines()]
    held = Counter(chunk["document"] for chunk in chunks)
    found = complete(chunks)
    for first in found:
        raised = await _raised(records, first)
        if raised and held[first["document"]] > first["chunks"]:
            await Chunks(typesense).drop_older(first["document"], first["version"], first["content"], first["chunks"])
    return len(found)


async def _raised(records: Records, first: Mapping[str, Any]) -> bool:
    """Whether the version of this first chunk is current now."""
    tenant, document_id, version = first["tenant_name"], first["document_id"], first["version"]
    acl = first.get("acl", [])
    if await records.claim(tenant, document_id, version, first["content_hash"], acl) != "claimed":
        return False
    outcome = await records.raise_to(
        tenant,
        document_id,
        version,
        first["content_hash"],
        status="indexed",
        chunks=first["chunks"],
        title=first["title"],
        url=first.get("url", ""),
        acl=acl,
    )
    return outcome in ("first", "raised", "again")


def complete(chunks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first chunk of each document's highest version that has all its chunks."""
    count: Counter[tuple[str, int, str]] = Counter()
    firsts: dict[tuple[str, int, str], Mapping[str, Any]] = {}
    for chunk in chunks:
        written = (chunk["document"], chunk["version"], chunk["content"])
        count[written] += 1
        if chunk["chunk"] == 0:
            firsts[written] = chunk
    highest: dict[str, Mapping[str, Any]] = {}
    for written in sorted(firsts):
        if count[written] == firsts[written]["chunks"]:
            highest[written[0]] = firsts[written]
    return list(highest.values())
