"""Document events in an order that makes no sense, and what an index must hold that took them in order. No I/O."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.index_document import documents
from knts import events
from knts.clients.records import Record
from knts.events import Event
from knts.index import whole_text
from tests.faults.load import WORDS

Name = tuple[str, str]  # tenant and document id
EVENTS_OF_ONE = 20  # about how many events there are of each document
LONG = 60  # sentences of a text that has several passages


@dataclass
class Counts:
    """How many events are what."""

    events: int = 0
    documents: int = 0
    deletions: int = 0
    duplicates: int = 0  # the same event again, under its own id
    republished: int = 0  # the same content under another event id
    conflicts: int = 0  # another content for a version that there is already
    replayed: int = 0  # once more after everything else

    def __str__(self) -> str:
        return ", ".join(f"{number} {name}" for name, number in vars(self).items())


def shuffled(chance: random.Random, number: int, tenants: Sequence[str], prefix: str) -> tuple[list[Event], Counts]:
    """So many events in the order in which they are to be sent.

    Most documents' events lie far apart, those of every fifth document in one place, so that they meet.
    """
    counts = Counts(events=number)
    apart: list[Event] = []
    together: list[list[Event]] = []
    replayed = number // 20
    while len(apart) + sum(map(len, together)) < number - replayed:
        counts.documents += 1
        several = list(_of_one(chance, chance.choice(tenants), f"{prefix}{counts.documents:x}", counts))
        if counts.documents % 5:
            apart += several
        else:
            together.append(several)
    parts: list[list[Event]] = [*([event] for event in apart), *together]
    for part in together:
        chance.shuffle(part)
    chance.shuffle(parts)
    sent = [event for part in parts for event in part][: number - replayed]
    counts.replayed = replayed
    return sent + chance.choices(sent, k=replayed), counts


def _of_one(chance: random.Random, tenant: str, document_id: str, counts: Counts) -> Iterator[Event]:
    versions = chance.randint(2, 2 * EVENTS_OF_ONE // 3)
    for version in range(1, versions + 1):
        contents = [None if chance.random() < 0.2 else _text(chance, document_id, version)]
        if chance.random() < 0.1:
            contents.append(None if chance.random() < 0.2 else _text(chance, document_id, version))
            counts.conflicts += 1
        for text in contents:
            counts.deletions += text is None
            event = _event(chance, tenant, document_id, version, text)
            yield event
            if chance.random() < 0.25:
                counts.duplicates += 1
                yield event
            if chance.random() < 0.15:
                counts.republished += 1
                yield _event(chance, tenant, document_id, version, text)


def _text(chance: random.Random, document_id: str, version: int) -> str:
    sentences = LONG if chance.random() < 0.05 else 2
    said = " ".join(f"{chance.choice(WORDS)} {chance.choice(WORDS)} of {document_id}." for _ in range(sentences))
    return f"Version {version} of {document_id}, {chance.randrange(10**9)}. {said}"


def _event(chance: random.Random, tenant: str, document_id: str, version: int, text: str | None) -> Event:
    data: dict[str, Any] = {"id": document_id, "version": version}
    kind = events.DOCUMENT_DELETED
    if text is not None:
        kind, data = events.DOCUMENT_UPSERTED, {**data, "title": f"About {document_id}", "text": text}
    return events.new_event(kind, "/faults", data, id=f"{chance.getrandbits(64):x}", tenant=tenant)


def judge(
    sent: Iterable[Event], records: Mapping[Name, Record | None], chunks: Mapping[Name, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """What is wrong: each document must be as its highest version says, by one of the contents sent for that version.

    `chunks` are all that the index holds of each document, of whatever version.
    """
    highest: dict[Name, list[Event]] = defaultdict(list)
    for event in sent:
        name = (event.tenant, event.payload["id"])
        if name in highest and highest[name][0].payload["version"] > event.payload["version"]:
            continue
        if name in highest and highest[name][0].payload["version"] < event.payload["version"]:
            highest[name].clear()
        highest[name].append(event)
    faults = [
        f"{name}: {fault}"
        for name, allowed in highest.items()
        for fault in _document(allowed, records.get(name), chunks.get(name, ()))
    ]
    return faults + [f"{name}: nobody has sent it, and the index holds it" for name in chunks.keys() - highest.keys()]


def _document(allowed: Sequence[Event], record: Record | None, chunks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    version = allowed[0].payload["version"]
    if record is None:
        yield "has no record"
        return
    by_content = {documents.version(event).content_hash: event for event in allowed}
    event = by_content.get(record.content_hash)
    if event is None or record.version != version:
        yield f"should be version {version}, is {record.version} with a content that nobody sent for it"
        return
    removed = event.type == events.DOCUMENT_DELETED
    if (record.status, record.indexed) != (("removed", 0) if removed else ("indexed", version)):
        yield f"is {record.status} in version {record.version}, {record.indexed} is shown"
    if removed:
        if chunks:
            yield f"was removed but has {len(chunks)} chunks"
        return
    here = sorted(chunks, key=lambda chunk: (chunk["version"], chunk["chunk"]))
    if [(chunk["version"], chunk["chunk"]) for chunk in here] != [(version, at) for at in range(record.chunks)]:
        yield f"has chunks {[(chunk['version'], chunk['chunk']) for chunk in here]}, should have {record.chunks}"
    elif whole_text(here) != event.payload["text"]:
        yield f"its chunks say something else than version {version}"
