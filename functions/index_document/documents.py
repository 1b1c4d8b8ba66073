"""What a document's event says, and the chunks that it becomes. Pure: values in, values out."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from functions.index_document import chunking
from functions.index_document.chunking import Passage, Section
from knts.errors import Permanent
from knts.events import Event
from knts.index import EVERYONE, document_digest, filter_term, group_digest, meta_field, meta_value, tenant_digest
from knts.words import indexed, indexed_pairs

MAX_KEYS = 128  # metadata keys of one document with its sections: each is a field of the index, which keeps it for good
_NOT_IN_IDS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # no CloudEvent attribute may hold them


@dataclass(frozen=True)
class Version:
    """One version of a document, whether written or removed, and the digest of its content."""

    tenant: str
    id: str
    number: int
    content_hash: str
    acl: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        """The digest under which the index holds the document."""
        return document_digest(self.tenant, self.id)

    @property
    def content(self) -> str:
        """The part of the content's digest that tells apart two contents of one version in the index."""
        return self.content_hash[:16]


def version(event: Event) -> Version:
    """The version that a document event speaks of.

    Two events of one version have the same content when everything in their data but the key order is equal; a removal
    has a content of its own. Raises Permanent for an id that could be no event's subject.
    """
    data = {name: value for name, value in event.payload.items() if name not in ("id", "version")}
    if _NOT_IN_IDS.search(event.payload["id"]):
        raise _refused("id", "must not hold control characters")
    canonical = orjson.dumps([event.type, data], option=orjson.OPT_SORT_KEYS)
    return Version(
        tenant=event.tenant,
        id=event.payload["id"],
        number=int(event.payload["version"]),
        content_hash=hashlib.sha256(canonical).hexdigest(),
        acl=tuple(data.get("acl", ())),
    )


def chunks(event: Event) -> list[bytes]:
    """The chunks of an upserted document as lines of JSON for the index, at least one.

    Raises Permanent naming the field: sections that break a rule, NUL anywhere, too many metadata keys.
    """
    data, about = event.payload, version(event)
    _check(data)
    passages = chunking.passages(data["text"], _sections(data))
    leads, tail = chunking.leads(data["text"], passages)
    whole, ends = _whole(about, data), _ends(about, len(passages), tail)
    return [
        orjson.dumps(
            {
                **whole,
                **_passage(data, passage),
                "id": f"{about.document}-{about.number}-{about.content}-{number}",
                "chunk": number,
                "lead": lead,
                **({"continues": True} if passage.continues else {}),
                **ends.get(number, {}),
            }
        )
        for number, (passage, lead) in enumerate(zip(passages, leads, strict=True))
    ]


def _check(data: Mapping[str, Any]) -> None:
    for field in _nul(data):
        raise _refused(field, "must not hold the character NUL")
    keys = {key for part in (data, *data.get("sections", ())) for key in part.get("metadata", ())}
    if len(keys) > MAX_KEYS:
        raise _refused("metadata", f"must have at most {MAX_KEYS} different keys, its sections' included")


def _sections(data: Mapping[str, Any]) -> list[Section]:
    return [
        Section(int(one["start"]), int(one["end"]), one.get("title", ""), one.get("metadata"))
        for one in data.get("sections", ())
    ]


def _whole(about: Version, data: Mapping[str, Any]) -> dict[str, Any]:
    """What all chunks of a document have in common."""
    return {
        "tenant": tenant_digest(about.tenant),
        "readers": [group_digest(group) for group in about.acl] or [EVERYONE],
        "document": about.document,
        "content": about.content,
        "document_id": about.id,
        "version": about.number,
        "title": data["title"],
        "title_words": indexed(data["title"]),
        **{name: data[name] for name in ("url", "lang", "tags") if data.get(name)},
    }


def _ends(about: Version, count: int, tail: str) -> dict[int, dict[str, Any]]:
    """What only the first chunk says, for a record to be rebuilt from it, and what only the last one does."""
    first = {
        "tenant_name": about.tenant,
        "content_hash": about.content_hash,
        "chunks": count,
        "acl": list(about.acl),
    }
    last = {"tail": tail} if tail else {}
    return {0: {**first, **last}} if count == 1 else {0: first, count - 1: last}


def _passage(data: Mapping[str, Any], passage: Passage) -> dict[str, Any]:
    """What is one passage's own; its section's metadata stands over the document's."""
    text = data["text"][passage.start : passage.end]
    metadata = {**data.get("metadata", {}), **passage.metadata}
    values = {key: _listed(value) for key, value in metadata.items()}
    named = {name: _listed(data.get(name, [])) for name in ("title", "tags", "lang")}
    described = {**values, **named}
    return {
        "section": passage.title,
        "section_words": indexed(passage.title),
        "text": text,
        "words": indexed(text),
        "pairs": indexed_pairs(text, data["title"], passage.title),
        "start": passage.start,
        "end": passage.end,
        "filters": sorted({filter_term(key, one) for key, several in described.items() for one in several}),
        **{meta_field(key): [meta_value(one) for one in several] for key, several in values.items() if several},
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _nul(value: Any, field: str = "") -> Iterator[str]:
    """The fields, as `sections.3.title`, whose text or name holds NUL."""
    if isinstance(value, str):
        if "\x00" in value:
            yield field
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _nul(name, field)
            yield from _nul(part, f"{field}.{name}".lstrip("."))
    elif isinstance(value, Sequence):
        for number, part in enumerate(value):
            yield from _nul(part, f"{field}.{number}")


def _refused(field: str, rule: str) -> Permanent:
    field = field.replace("\x00", "�")[:120] or "data"
    return Permanent(f"{field}: {rule}", errors=[{"field": field, "rule": rule}])
