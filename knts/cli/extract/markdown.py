"""Markdown and plain text: the text stays as it is; a heading opens a section that ends before the next heading."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from knts.cli.extract.document import Document, Refused, Section, decoded, file_title

_FENCES = ("---", "+++")


def from_markdown(path: str, data: bytes) -> Iterator[Document]:
    """One document; its title is the first heading's, a section's title the headings that lead to it."""
    text = decoded(data)
    headings = list(_headings(text))
    sections = tuple(_sections(text, headings))
    title = next((name for _, _, name in headings), "") or file_title(path)
    yield Document(path, title, text, sections)


def from_text(path: str, data: bytes) -> Iterator[Document]:
    """One document without sections, named after its file."""
    yield Document(path, file_title(path), decoded(data))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Offset, level and title of each heading."""
    starts = _line_starts(text)
    skipped = _front_matter(text)
    try:
        tokens = MarkdownIt("commonmark").parse("\n" * skipped + "\n".join(_lines(text)[skipped:]))
    except RecursionError as error:
        raise Refused("is nested too deeply") from error
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.map and token.level == 0:
            yield starts[token.map[0]], int(token.tag[1:]), _plain(inline.children or [])


def _plain(children: Sequence[Token]) -> str:
    return " ".join("".join(_texts(children)).split())


def _texts(children: Sequence[Token]) -> Iterator[str]:
    for child in children:
        if child.type in ("text", "code_inline"):
            yield child.content
        elif child.type in ("softbreak", "hardbreak"):
            yield " "
        yield from _texts(child.children or [])


def _lines(text: str) -> list[str]:
    """Lines as CommonMark counts them: ended by LF, CR or CRLF and nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for at, character in enumerate(text):
        if character == "\n" or (character == "\r" and text[at + 1 : at + 2] != "\n"):
            starts.append(at + 1)
    return starts


def _front_matter(text: str) -> int:
    """How many lines a block of YAML or TOML front matter takes, whose last line would else read as a heading."""
    lines = _lines(text)
    if lines[0].rstrip() not in _FENCES:
        return 0
    for number, line in enumerate(lines[1:200], 2):
        if line.rstrip() == lines[0].rstrip():
            return number
    return 0


def _sections(text: str, headings: list[tuple[int, int, str]]) -> Iterator[Section]:
    if not headings:
        return
    if text[: headings[0][0]].strip():
        yield Section(0, headings[0][0])
    above: list[tuple[int, str]] = []
    ends = [start for start, _, _ in headings[1:]] + [len(text)]
    for (start, level, title), end in zip(headings, ends, strict=True):
        above = [*((depth, name) for depth, name in above if depth < level), (level, title)]
        yield Section(start, end, " › ".join(name for _, name in above if name))
