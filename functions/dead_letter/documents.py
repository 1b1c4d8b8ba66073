"""Which version of a document a dead event was about, whatever else is wrong with it. Pure."""

import orjson

from knts.events import DOCUMENT_DELETED, DOCUMENT_UPSERTED, Event

DOCUMENTS = frozenset({DOCUMENT_UPSERTED, DOCUMENT_DELETED})
MAX_ID = 512
MAX_VERSION = 2**53 - 1


def document_of(event: Event) -> tuple[str, int] | None:
    """Id and version, or None where the event names none that could ever be a document's."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        return None
    named, version = (data.get("id"), data.get("version")) if isinstance(data, dict) else (None, None)
    if not isinstance(named, str) or not 1 <= len(named) <= MAX_ID:
        return None
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= MAX_VERSION:
        return None
    return named, version
