"""A document's text around one passage of it, a window at a time. Values in, values out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from functions.ingress.web import marks
from functions.ingress.web.marks import Run
from functions.ingress.web.words import outside_link
from knts.errors import NotFound

WINDOW = 6000  # code points shown at once
BEFORE = 1500  # of them before the passage


@dataclass(frozen=True)
class Place:
    """A passage of a document, in code points, and where the shown window begins (None: around the passage)."""

    document_id: str
    start: int = 0
    end: int = 0
    at: int | None = None

    def url(self) -> str:
        """The page's address of this place."""
        named = {"id": self.document_id, "start": self.start, "end": self.end}
        return f"/ui/document?{urlencode(named if self.at is None else {**named, 'at': self.at})}"


@dataclass(frozen=True)
class Shown:
    """A window of a document as it is shown."""

    title: str
    version: int
    url: str
    runs: tuple[Run, ...]
    earlier: str
    later: str


def place(named: Mapping[str, str]) -> Place:
    """The place that a query names. Raises NotFound without a document's id."""
    document_id = named.get("id", "")
    if not 0 < len(document_id) <= 512:
        raise NotFound("the address names no document")
    start, end = _offset(named.get("start", "")) or 0, _offset(named.get("end", "")) or 0
    return Place(document_id, start, end, _offset(named.get("at", "")))


def _offset(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def around(document: Mapping[str, Any], place: Place) -> Shown:
    """The window of the document that holds the place, its passage marked. Raises NotFound when it has no text."""
    text = document.get("text")
    if text is None:
        raise NotFound("the document's text is not there yet, or not any more")
    wanted = max(0, place.start - BEFORE) if place.at is None else place.at
    first = _line_start(text, min(wanted, max(0, len(text) - WINDOW)))
    last = min(len(text), first + WINDOW)
    return Shown(
        title=document.get("title") or place.document_id,
        version=document["version"],
        url=outside_link(document),
        runs=marks.runs(text[first:last], [(place.start - first, place.end - first)]),
        earlier=replace(place, at=max(0, first - WINDOW)).url() if first else "",
        later=replace(place, at=last).url() if last < len(text) else "",
    )


def _line_start(text: str, at: int) -> int:
    """The start of the line at `at`, unless it is far away."""
    found = text.rfind("\n", max(0, at - 400), at) + 1
    return found or (0 if at < 400 else at)
