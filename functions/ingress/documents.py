"""Documents over HTTP: every change is an event with a version, every look is at the record of the last one indexed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from functions.ingress.access import Principal
from functions.ingress.doors import Doors
from functions.ingress.ports import Publisher, Record, Records, Texts
from functions.ingress.requests import checked, checked_document, refuse
from knts import events
from knts.errors import KntsError, NotFound, Temporary, TooLarge
from knts.events import Event

log = logging.getLogger(__name__)

SOURCE = "/knts/ingress"
MAX_ID = 512
MAX_VERSION = 2**53 - 1
LINES_AT_ONCE = 16
REFUSALS_TOLD = 1000


@dataclass(kw_only=True)
class Documents:
    """Put, delete, show and list documents, one or many."""

    publisher: Publisher
    records: Records
    texts: Texts
    doors: Doors

    async def put_document(self, who: Principal, document_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Publish a new or changed document: `{"id", "version", "event_id"}`.

        `document` is `{"title", "text", "version"?, "url"?, "lang"?, "tags"?, "acl"?, "metadata"?, "sections"?}`;
        an `id` in it must be the same. Raises BadRequest, TooLarge, Busy, Temporary.
        """
        with self.doors.changes.passed():
            return await self.put(who, document_id, document)

    async def put(self, who: Principal, document_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """The same, for one of many that come together and wait for each other."""
        if document.get("id", document_id) != document_id:
            refuse([{"field": "id", "rule": "must be the id in the path, or absent"}])
        data = checked_document({**document, "id": document_id})
        check_size(document_event(who, events.DOCUMENT_UPSERTED, {**data, "version": MAX_VERSION}))
        acl = data.get("acl", [])
        version = await self._version(who, document_id, data.get("version"), acl)
        return await self._announce(who, events.DOCUMENT_UPSERTED, {**data, "version": version})

    async def delete_document(self, who: Principal, document_id: str, version: int | None = None) -> dict[str, Any]:
        """Publish a deletion, which is a version too: `{"id", "version", "event_id"}`."""
        checked(events.DOCUMENT_DELETED, {"id": document_id, "version": 1 if version is None else version})
        with self.doors.changes.passed():
            version = await self._version(who, document_id, version, None)
            return await self._announce(who, events.DOCUMENT_DELETED, {"id": document_id, "version": version})

    async def document(self, who: Principal, document_id: str, *, text: bool = False) -> dict[str, Any]:
        """`{"id", "version", "status", "chunks", "title", "url", "updated", …}`, its text where asked for.

        Raises NotFound for unknown and unreadable ones alike.
        """
        record = await self.records.get(who.tenant, document_id) if 1 <= len(document_id) <= MAX_ID else None
        if record is None or not record.readable_by(who.groups):
            raise NotFound("there is no such document, or it is not yours to read")
        shown = summary(record)
        if text and record.indexed:
            shown["text"] = await self.texts.text(who.tenant, document_id, record.indexed, record.chunks)
        return shown

    async def documents(self, who: Principal, *, after: str = "", limit: int = 100) -> dict[str, Any]:
        """The readable documents by id: `{"documents": [as `document`], "next": the next page's `after` or None}`."""
        if not 1 <= limit <= 1000:
            refuse([{"field": "limit", "rule": "must be between 1 and 1000"}])
        found, following = await self.records.listing(who.tenant, who.groups, after, limit)
        return {"documents": [summary(record) for record in found], "next": following}

    async def load(self, who: Principal, lines: AsyncIterator[tuple[int, bytes | KntsError]]) -> dict[str, Any]:
        """Put one document a line of NDJSON: `{"accepted", "refused": [{"line", "id"?, "error"}]}`.

        Lines are worked side by side, but those with the same id one after the other. At most `REFUSALS_TOLD`
            refusals are told; `refused_count` counts all.
        """
        with self.doors.loads.passed():
            async with asyncio.TaskGroup() as tasks:
                loading = Loading(self, who, tasks)
                async for number, line in lines:
                    await loading.take(number, line)
            return loading.result()

    async def _version(self, who: Principal, document_id: str, version: int | None, acl: list[str] | None) -> int:
        if version is None:
            return await self.records.assign(who.tenant, document_id, acl)
        await self.records.note_pending(who.tenant, document_id, version, acl)
        return version

    async def _announce(self, who: Principal, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
        event = document_event(who, event_type, data)
        try:
            await self.publisher.publish(event)
        except KntsError as error:
            await self._not_published(who, data, error)
            raise
        return {"id": data["id"], "version": data["version"], "event_id": event.id}

    async def _not_published(self, who: Principal, data: Mapping[str, Any], error: KntsError) -> None:
        """The version will not come, so it is not pending for ever; if it does come, index-document takes it back."""
        try:
            await self.records.refuse(who.tenant, data["id"], data["version"], f"not published: {error.detail}")
        except Temporary as away:
            log.warning("a version stays pending: %s", away.detail, extra={"document_id": data["id"]})


class Loading:
    """One NDJSON body on its way in."""

    def __init__(self, documents: Documents, who: Principal, tasks: asyncio.TaskGroup) -> None:
        self._documents = documents
        self._who = who
        self._tasks = tasks
        self._room = asyncio.Semaphore(LINES_AT_ONCE)
        self._last_of: dict[str, asyncio.Task[None]] = {}
        self._accepted = 0
        self._refused: list[dict[str, Any]] = []
        self._refused_count = 0

    async def take(self, number: int, line: bytes | KntsError) -> None:
        """Work on a line as soon as there is room."""
        document_id = ""
        try:
            if isinstance(line, KntsError):
                raise line
            document = events.loads(line, "line")
            if not isinstance(document, dict):
                refuse([{"field": "line", "rule": "must be a JSON object"}])
            if not isinstance(document.get("id"), str):
                refuse([{"field": "id", "rule": "is required and must be a text"}])
            document_id = document["id"]
        except KntsError as error:
            return self._refuse(number, document_id, error)
        await self._room.acquire()
        task = self._tasks.create_task(self._put(number, document_id, document, self._last_of.get(document_id)))
        self._last_of[document_id] = task
        task.add_done_callback(lambda done: self._forget(document_id, done))
        return None

    async def _put(
        self, number: int, document_id: str, document: dict[str, Any], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._documents.put(self._who, document_id, document)
            self._accepted += 1
        except KntsError as error:
            self._refuse(number, document_id, error)

    def _forget(self, document_id: str, done: asyncio.Task[None]) -> None:
        self._room.release()
        if self._last_of.get(document_id) is done:
            del self._last_of[document_id]

    def _refuse(self, number: int, document_id: str, error: KntsError) -> None:
        self._refused_count += 1
        if len(self._refused) < REFUSALS_TOLD:
            named = {"id": document_id} if document_id else {}
            self._refused.append({"line": number, **named, "error": error.detail})

    def result(self) -> dict[str, Any]:
        """What became of all lines, once all are done."""
        refused = sorted(self._refused, key=lambda one: one["line"])
        return {"accepted": self._accepted, "refused": refused, "refused_count": self._refused_count}


def document_event(who: Principal, event_type: str, data: Mapping[str, Any]) -> Event:
    """The event of a document's change; an id that an attribute can't hold stands there percent-encoded."""
    name = data["id"] if data["id"].isprintable() else quote(data["id"], safe="")
    return events.new_event(event_type, SOURCE, data, subject=name, partitionkey=name, tenant=who.tenant)


def check_size(event: Event) -> None:
    """Raises TooLarge for an event that no Broker would take."""
    if len(event.data) > events.MAX_EVENT_BYTES:
        raise TooLarge(f"the document makes an event of {len(event.data)} bytes; {events.MAX_EVENT_BYTES} are allowed")


def summary(record: Record) -> dict[str, Any]:
    """A document's record as clients get it."""
    return {
        "id": record.document_id,
        "version": record.version,
        "status": record.status,
        "chunks": record.chunks,
        "title": record.title,
        "url": record.url or None,
        "acl": list(record.acl),
        "updated": record.updated,
        **({"indexed_version": record.indexed} if record.indexed and record.indexed != record.version else {}),
        **({"reason": record.reason} if record.reason and record.status == "rejected" else {}),
    }
