"""HTML pages: the readable text by inscriptis, cut into sections at the headings that it marks."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lxml.etree
import lxml.html
from inscriptis.annotation import Annotation
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig

from knts.cli.extract.document import Document, Refused, Section, file_title

_RULES = {f"h{level}": [str(level)] for level in range(1, 7)}
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")


def from_html(path: str, data: bytes) -> Iterator[Document]:
    """One document; its title is the page's, or its first heading's."""
    tree = _tree(data)
    rendered = Inscriptis(tree, ParserConfig(annotation_rules=_RULES))
    text = rendered.get_text()
    if not text.strip():
        raise Refused("has no readable text")
    headings = [_heading(text, label) for label in rendered.get_annotations()]
    headings = sorted(heading for heading in headings if heading[2])
    named = " ".join((tree.findtext(".//title") or "").split())
    title = named or next((name for _, _, name in headings), "") or file_title(path)
    others: dict[str, Any] = {}
    if (language := tree.get("lang") or "") and _LANGUAGE.match(language):
        others["lang"] = language
    yield Document(path, title, text, tuple(_sections(text, headings)), others=others)


def _tree(data: bytes) -> Any:
    if not data.strip():
        raise Refused("is empty")
    try:
        parser = lxml.html.HTMLParser(encoding=_encoding(data), no_network=True)
        return lxml.html.document_fromstring(data, parser=parser)
    except (lxml.etree.LxmlError, ValueError, AssertionError) as error:
        raise Refused(f"is not HTML ({error})") from error


def _encoding(data: bytes) -> str | None:
    """UTF-8 where the bytes are, else what the page itself declares."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if b"charset" not in data[:4096].lower():
            raise Refused("is not UTF-8 and declares no charset") from None
        return None
    return "utf-8"


def _heading(text: str, label: Annotation) -> tuple[int, int, str]:
    """Offset, level and title of a heading."""
    return label.start, int(label.metadata), " ".join(text[label.start : label.end].split())


def _sections(text: str, headings: list[tuple[int, int, str]]) -> Iterator[Section]:
    if not headings:
        return
    if text[: headings[0][0]].strip():
        yield Section(0, headings[0][0])
    above: list[tuple[int, str]] = []
    for (start, level, title), (end, _, _) in pairwise([*headings, (len(text), 0, "")]):
        above = [*((depth, name) for depth, name in above if depth < level), (level, title)]
        if end > start:
            yield Section(start, end, " › ".join(name for _, name in above))
