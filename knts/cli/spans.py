"""Recorded spans, found by an answer's id and put in their tree. Files in, values out."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from knts.cli.errors import CommandError

Span = dict[str, Any]

SHORT_NS = 2_000_000  # Redis calls below this, or a hundredth of the whole, are summed up in their parent's line
_ID = re.compile(r"[0-9A-Za-z-]{4,64}\Z")


@dataclass
class Node:
    """A span with what it led to, in order of time; `folded` are the short calls that are not shown of their own."""

    span: Span
    children: list["Node"] = field(default_factory=list)
    folded: list[Span] = field(default_factory=list)

    @property
    def took(self) -> int:
        """Nanoseconds from start to end."""
        return int(self.span["end"] - self.span["start"])


def read(folder: Path, wanted: str) -> list[Span]:
    """All recorded spans of the traces that touch the answer or trace `wanted` (its start is enough).

    Raises CommandError when there is no such folder, none, or more than one answer that begins so.
    """
    if not _ID.match(wanted):
        raise CommandError(f"{wanted!r} is no id; ids are letters and digits, at least four")
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.1")])
    if not files:
        raise CommandError(f"no spans are recorded in {folder}; --dir or KNTS_TRACE_DIR names another folder")
    found = dict(_matches(files, wanted))
    if not found:
        raise CommandError(f"no span of {wanted} is recorded in {folder} (spans are written within a second)")
    answers = {answer for answer in found.values() if answer}
    if len(answers) > 1:
        raise CommandError(f"several begin with {wanted}: {', '.join(sorted(answers)[:5])}")
    spans = [span for span in _lines(files, [trace_id.encode() for trace_id in found]) if span["trace_id"] in found]
    return sorted(spans, key=lambda span: (span["start"], -span["end"]))


def _matches(files: Sequence[Path], wanted: str) -> Iterator[tuple[str, str]]:
    """Trace ids of matching spans, each with the answer's id where that is what matched."""
    for span in _lines(files, [wanted.encode()]):
        answer = str(span["attributes"].get("knts.correlation_id", ""))
        if answer.startswith(wanted):
            yield span["trace_id"], answer
        elif span["trace_id"].startswith(wanted):
            yield span["trace_id"], ""


def _lines(files: Iterable[Path], holding: Sequence[bytes]) -> Iterator[Span]:
    """The spans whose line holds one of the texts; only these are parsed, and a torn last line is left out."""
    for path in files:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") and any(text in line for text in holding):
                    yield orjson.loads(line)


def tree(spans: Sequence[Span], *, fold: bool = True) -> list[Node]:
    """The spans' trees, oldest first; a span whose parent was not recorded is a root."""
    nodes = {span["span_id"]: Node(span) for span in spans}
    total = max((span["end"] for span in spans), default=0) - min((span["start"] for span in spans), default=0)
    short = max(SHORT_NS, total // 100)
    children: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes.values():
        parent = node.span["parent_id"]
        children[parent if parent in nodes else None].append(node)
    for node in nodes.values():
        for child in children[node.span["span_id"]]:
            if fold and _foldable(child, children, short):
                node.folded.append(child.span)
            else:
                node.children.append(child)
    return children[None]


def _foldable(node: Node, children: dict[str | None, list[Node]], short: int) -> bool:
    is_redis = "db.system.name" in node.span["attributes"] or "db.system" in node.span["attributes"]
    leaf = not children.get(node.span["span_id"])
    return is_redis and leaf and not node.span["error"] and node.took < short


def walk(nodes: Sequence[Node], guides: tuple[bool, ...] = ()) -> Iterator[tuple[tuple[bool, ...], Node]]:
    """Each node from the top, with one flag for each level above it: whether that branch ends there."""
    for number, node in enumerate(nodes, 1):
        here = (*guides, number == len(nodes))
        yield here, node
        yield from walk(node.children, here)
