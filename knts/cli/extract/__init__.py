"""Files into documents: bytes in, documents out, by the file's suffix; nothing here reads or writes anything."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from knts.cli.extract.document import Document, Refused, Section

__all__ = ["SUFFIXES", "Document", "Refused", "Section", "extract"]

Extractor = Callable[[str, bytes], Iterator[Document | Refused]]


def _extractor(suffix: str) -> Extractor:
    """The extractor of a suffix, imported when it is first needed: most loads need one or two of them."""
    if suffix in (".md", ".markdown"):
        from knts.cli.extract.markdown import from_markdown as found
    elif suffix in (".txt", ".text", ".rst"):
        from knts.cli.extract.markdown import from_text as found
    elif suffix in (".html", ".htm", ".xhtml"):
        from knts.cli.extract.html import from_html as found
    elif suffix in (".jsonl", ".ndjson"):
        from knts.cli.extract.jsonl import from_jsonl as found  # type: ignore[assignment]
    elif suffix == ".pdf":
        from knts.cli.extract.pdf import from_pdf as found
    else:
        from knts.cli.extract.play import from_xml as found
    return found


SUFFIXES = frozenset(
    {".md", ".markdown", ".txt", ".text", ".rst", ".html", ".htm", ".xhtml", ".jsonl", ".ndjson", ".pdf", ".xml"}
)


def extract(path: str, data: bytes) -> Iterator[Document | Refused]:
    """The documents in a file named `path`, and a Refused for each part that is none.

    Raises Refused when the file as a whole can't be taken.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise Refused(f"files named *{suffix or path} are not known; these are: {' '.join(sorted(SUFFIXES))}")
    return _extractor(suffix)(path, data)
