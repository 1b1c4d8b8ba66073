"""The words of the index: under what names chunks are stored, and the filters that find them. No I/O.

A chunk is one passage of one version of a document. Whatever a filter compares is stored as a digest (`tenant`,
`readers`, `document`, `filters`), so that no text of a person ever needs escaping in a filter. What is searched is
`words`, `title_words` and `section_words` (`knts.words.indexed` of `text`, `title` and `section`), and `pairs`, the
neighbours in them; the rest is stored for reading. Fields: schemas/typesense-collection.json.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

EVERYONE = "everyone"  # in `readers` where a document has no acl; digests are hex, so no group can be called that
META = "meta_"
_PLAIN_KEY = re.compile(r"(?!x_)[A-Za-z][A-Za-z0-9_]{0,63}\Z")


def tenant_digest(tenant: str) -> str:
    """A tenant's name as 32 hex characters: needs no escaping in a filter."""
    return _digest("tenant", tenant)


def group_digest(group: str) -> str:
    """A group's name as 32 hex characters."""
    return _digest("group", group)


def document_digest(tenant: str, document_id: str) -> str:
    """A tenant's document as 32 hex characters, the field `document` of its chunks."""
    return _digest("document", tenant, document_id)


def scope_filter(tenant: str, groups: Iterable[str]) -> str:
    """The filter that every search carries: the tenant's chunks that are readable by one of the groups.

    Each value is one word of the index, so ":" (has the word) finds what ":=" (is the word) would, three times as fast.
    """
    readers = sorted({EVERYONE, *map(group_digest, groups)})
    return f"tenant:{tenant_digest(tenant)} && readers:[{','.join(readers)}]"


@lru_cache(maxsize=4096)
def meta_field(key: str) -> str:
    """The field that holds a metadata key's values: `meta_<key>`, hex-encoded where the key is no plain word."""
    return META + (key if _PLAIN_KEY.match(key) else "x_" + key.encode().hex())


def meta_key(field: str) -> str:
    """The metadata key that a field of `meta_field` stands for."""
    name = field.removeprefix(META)
    return bytes.fromhex(name[2:]).decode() if name.startswith("x_") else name


def meta_value(value: str | float | bool) -> str:
    """A metadata value as the text that it is stored and filtered by: `true`, `3`, `2.5`, or the string itself."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@lru_cache(maxsize=65536, typed=True)  # 1, 1.0 and True are equal and have texts of their own
def filter_term(key: str, value: str | float | bool) -> str:
    """What `filters` holds of a key (metadata, `title`, `tags`, `lang`) and one of its values; case is ignored."""
    return _digest("filter", key, meta_value(value).casefold())


def filter_by(filters: Mapping[str, Sequence[str]]) -> str:
    """The filter for chunks that have, for every key, one of its values; empty for no filters. Join it with ` && `."""
    terms = (",".join(filter_term(key, value) for value in values) for key, values in sorted(filters.items()))
    return " && ".join(f"filters:[{any_of}]" for any_of in terms if any_of)


def whole_text(chunks: Iterable[Mapping[str, Any]]) -> str:
    """The document's unchanged text from all chunks of one version, in any order."""
    parts = sorted(chunks, key=lambda chunk: int(chunk["chunk"]))
    return "".join(chunk.get("lead", "") + chunk["text"] + chunk.get("tail", "") for chunk in parts)


def _digest(*parts: str) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
