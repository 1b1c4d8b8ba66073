"""Documents come and go: the highest version wins, in whatever order, however often and by however many writers.

Nothing is marked as seen. A delivery is worked from the document's record to the same effect and the same reply:
claim the version, import its chunks, make it the current one, delete what it replaced. A crash between any two of
these is cured by the delivery that follows; a writer that was overtaken deletes only what it wrote itself.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from functions.index_document.documents import Version, chunks, version
from knts import events
from knts.errors import Permanent, Temporary
from knts.events import Event

SOURCE = "/knts/index-document"
LARGE = 50_000  # bytes of an event from which cutting it is left to a thread, so that the others are answered


class Records(Protocol):
    """The documents' records: `knts.clients.records`."""

    async def claim(
        self, tenant: str, document_id: str, version: int, content_hash: str, acl: Sequence[str], *, removal: bool = ...
    ) -> Literal["claimed", "superseded", "conflict"]: ...

    async def raise_to(
        self,
        tenant: str,
        document_id: str,
        version: int,
        content_hash: str,
        *,
        status: Literal["indexed", "removed"],
        **fields: Any,
    ) -> Literal["first", "raised", "again", "superseded", "conflict", "lost"]: ...

    async def refuse(
        self, tenant: str, document_id: str, version: int, reason: str, content_hash: str
    ) -> Literal["refused", "superseded"]: ...

    def changing(self, tenant: str) -> AbstractAsyncContextManager[None]: ...


class Index(Protocol):
    """The chunks in the index: `knts.clients.chunks`, imports batched."""

    async def add(self, lines: Sequence[bytes]) -> None: ...

    async def drop_older(self, document: str, version: int, content: str, chunks: int) -> None: ...

    async def drop_up_to(self, document: str, version: int) -> None: ...

    async def drop_own(self, document: str, version: int, content: str) -> None: ...


class Meanings(Protocol):
    """The passages' embeddings, which are made later: `functions.index_document.embedding`."""

    async def later(self, tenant: str, document_id: str) -> None: ...


async def upsert(event: Event, *, records: Records, index: Index, meanings: Meanings | None = None) -> Event | None:
    """Index a document: indexed, rejected (its version has another content) or None (superseded).

    It is found by its words then, and by what it means when `meanings` get to it; None where there is no model.
    Raises Permanent, noted in the record, for a document that can't be indexed.
    """
    new = version(event)
    claim = await records.claim(new.tenant, new.id, new.number, new.content_hash, new.acl)
    if claim == "conflict":
        return _rejected(event, new)
    if claim == "superseded":
        await index.drop_own(new.document, new.number, new.content)  # from a delivery that got stuck half-way
        return None
    try:
        lines = await (asyncio.to_thread(chunks, event) if len(event.data) > LARGE else _now(event))
        return await _write(event, new, lines, records=records, index=index, meanings=meanings)
    except Permanent as error:
        if await records.refuse(new.tenant, new.id, new.number, error.detail, new.content_hash) == "refused":
            await index.drop_own(new.document, new.number, new.content)
        raise


async def _now(event: Event) -> list[bytes]:
    return chunks(event)


async def _write(
    event: Event, new: Version, lines: list[bytes], *, records: Records, index: Index, meanings: Meanings | None
) -> Event | None:
    async with records.changing(new.tenant):
        await index.add(lines)
        outcome = await records.raise_to(
            new.tenant,
            new.id,
            new.number,
            new.content_hash,
            status="indexed",
            chunks=len(lines),
            title=event.payload["title"],
            url=event.payload.get("url", ""),
            acl=new.acl,
        )
        if meanings and outcome in ("first", "raised", "again"):  # not before: who embeds looks for what is current
            await meanings.later(new.tenant, new.id)
        if outcome in ("raised", "again"):
            await index.drop_older(new.document, new.number, new.content, len(lines))
        elif outcome != "first":
            await index.drop_own(new.document, new.number, new.content)
    done = {"id": new.id, "version": new.number, "chunks": len(lines), "content_hash": new.content_hash}
    return _outcome(event, new, outcome, events.DOCUMENT_INDEXED, done)


async def delete(event: Event, *, records: Records, index: Index) -> Event | None:
    """Remove a document: removed, rejected (this version has a content) or None (superseded)."""
    gone = version(event)
    claim = await records.claim(gone.tenant, gone.id, gone.number, gone.content_hash, (), removal=True)
    if claim == "conflict":
        return _rejected(event, gone)
    if claim == "superseded":
        return None
    async with records.changing(gone.tenant):
        outcome = await records.raise_to(gone.tenant, gone.id, gone.number, gone.content_hash, status="removed")
        if outcome in ("raised", "again"):
            await index.drop_up_to(gone.document, gone.number)
    return _outcome(event, gone, outcome, events.DOCUMENT_REMOVED, {"id": gone.id, "version": gone.number})


def _outcome(event: Event, about: Version, outcome: str, event_type: str, done: dict[str, Any]) -> Event | None:
    if outcome == "superseded":
        return None
    if outcome == "conflict":
        return _rejected(event, about)
    if outcome == "lost":
        raise Temporary("the document's record was lost while it was written", retry_after=1)
    return events.reply_to(event, event_type, SOURCE, done, subject=about.id)


def _rejected(event: Event, about: Version) -> Event:
    reason = f"version {about.number} was taken before with another content"
    data = {"id": about.id, "version": about.number, "reason": reason, "content_hash": about.content_hash}
    return events.reply_to(event, events.DOCUMENT_REJECTED, SOURCE, data, subject=about.id)
