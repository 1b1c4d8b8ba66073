"""Small words that several parts of the page share: links to documents, spans of time. Values in, values out."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit


def document_link(place: Mapping[str, Any], start: int, end: int) -> str:
    """Our page of a passage's document."""
    return f"/ui/document?{urlencode({'id': place['document_id'], 'start': start, 'end': end})}#passage"


def outside_link(document: Mapping[str, Any]) -> str:
    """The web address that a document names; empty for none, and for one that is none, such as javascript:."""
    url = document.get("url") or ""
    try:
        return url if urlsplit(url).scheme.lower() in ("http", "https") else ""
    except ValueError:
        return ""


def duration(ms: float) -> str:
    """A span of time, short: 8 ms, 1.4 s, 75 s."""
    if ms < 1000:
        return f"{max(ms, 0):.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms / 1000:.0f} s"
