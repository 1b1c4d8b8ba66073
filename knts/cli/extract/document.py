"""What an extractor gives: a document for the HTTP API, with sections at exact places of its text."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

Metadata = dict[str, Any]

MAX_TITLE = 1024


class Refused(Exception):
    """A file, or a line of one, that can't become a document; the message says why."""


@dataclass(frozen=True)
class Section:
    """`text[start:end]` of a document, in code points; never empty."""

    start: int
    end: int
    title: str = ""
    metadata: Metadata = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The section as the schema wants it."""
        named: dict[str, Any] = {"start": self.start, "end": self.end}
        if self.title:
            named["title"] = self.title[:MAX_TITLE]
        if self.metadata:
            named["metadata"] = self.metadata
        return named


@dataclass(frozen=True)
class Document:
    """A document before it has a version; `id` is a path of its own, below which the loader may put a prefix."""

    id: str
    title: str
    text: str
    sections: tuple[Section, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)  # url, lang, tags, acl, version

    def as_json(self) -> dict[str, Any]:
        """The body of `PUT /v1/documents/{id}`, with the id."""
        named: dict[str, Any] = {"id": self.id, "title": self.title[:MAX_TITLE], "text": self.text, **self.others}
        if self.metadata:
            named["metadata"] = self.metadata
        if self.sections:
            named["sections"] = [section.as_json() for section in self.sections]
        return named


class TextBuilder:
    """Lays out a text piece by piece and notes where its sections stand."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._sections: list[Section] = []
        self.length = 0

    def add(self, piece: str) -> None:
        """Append to the text."""
        self._pieces.append(piece)
        self.length += len(piece)

    def section(self, text: str, title: str = "", metadata: Metadata | None = None, gap: str = "\n\n") -> None:
        """Append a section, apart from what stands before it by `gap`; a blank one is left out."""
        if not text.strip():
            return
        if self.length:
            self.add(gap)
        start = self.length
        self.add(text)
        self._sections.append(Section(start, self.length, title, metadata or {}))

    def document(self, id: str, title: str, **others: Any) -> Document:
        """The document as laid out."""
        return Document(id, title, "".join(self._pieces), tuple(self._sections), **others)


def decoded(data: bytes) -> str:
    """The text of a UTF-8 file, unchanged but for a byte order mark. Raises Refused saying where it breaks."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8 (byte {data[error.start]:#04x} at position {error.start})") from error
    if "\0" in text:
        raise Refused("looks like a binary file (it holds a NUL character)")
    if not text.strip():
        raise Refused("is empty")
    return text


def file_title(path: str) -> str:
    """A title for a file that names none: its name without suffix and separators."""
    stem = PurePosixPath(path).stem
    return " ".join(stem.replace("_", " ").replace("-", " ").split()) or path
