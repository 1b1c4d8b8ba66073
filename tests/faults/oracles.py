"""What must hold after faults, judged from what was accepted and what was seen. No I/O: values in, faults in words out.

An oracle gives one sentence for each thing that is wrong, and nothing when all is well.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from knts import events
from knts.channel import entry_order, position

REQUESTS = frozenset({events.SEARCH_REQUESTED, events.ANSWER_REQUESTED, events.PASSAGES_FOUND})
LAST = frozenset({"completed", "abstained", "failed", "cancelled"})


@dataclass(frozen=True)
class Change:
    """One version of a document that the Broker or ingress has accepted; a deletion has no text."""

    document_id: str
    version: int
    text: str | None


@dataclass
class Found:
    """What became of a document: its record over HTTP, its chunks `(version, number)`, whether a search shows it."""

    record: Mapping[str, Any] | None
    chunks: list[tuple[int, int]]
    searchable: bool


@dataclass
class Frame:
    """One server-sent event."""

    id: str
    event: str
    data: dict[str, Any]


@dataclass
class Heard:
    """All that one asker has heard. Times are seconds of one clock; `away` is how long nobody could be reached.

    `refused` is the status or reason of a call that never became a stream; `stored` the answer as it is given later.
    """

    asked: float
    frames: list[Frame] = field(default_factory=list)
    refused: str = ""
    ended: float | None = None
    away: float = 0.0
    stored: Mapping[str, Any] | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.frames[0].data.get("id", "")) if self.frames else ""

    @property
    def outcome(self) -> str:
        """How it ended: an answer's status, or why there was none."""
        return self.refused or (self.frames[-1].event if self.frames else "nothing")


def in_order(accepted: Iterable[Change]) -> dict[str, Change]:
    """What an index shows that has taken every change in the order of its versions."""
    highest: dict[str, Change] = {}
    for change in sorted(accepted, key=lambda change: change.version):
        highest[change.document_id] = change
    return highest


def judge_documents(accepted: Iterable[Change], found: Mapping[str, Found]) -> list[str]:
    """Whether records, chunks and searches are what the in-order oracle says."""
    return [
        f"{document_id}: {fault}"
        for document_id, change in sorted(in_order(accepted).items())
        for fault in _document(change, found[document_id])
    ]


def _document(change: Change, found: Found) -> Iterator[str]:
    record = found.record or {}
    seen = (record.get("version"), record.get("status"))
    if change.text is None:
        if seen != (change.version, "removed"):
            yield f"should be removed by version {change.version}, is {seen}"
        if found.chunks:
            yield f"was removed but has chunks {found.chunks}"
        if found.searchable:
            yield "was removed but is found by a search"
        return
    if seen != (change.version, "indexed"):
        yield f"should be indexed as version {change.version}, is {seen}"
    if record.get("text") != change.text:
        yield f"has another text than version {change.version}"
    if sorted(found.chunks) != [(change.version, number) for number in range(record.get("chunks", 0))]:
        yield f"has chunks {sorted(found.chunks)}, its record says {record.get('chunks')} of version {change.version}"
    if not found.searchable:
        yield "is not found by a search"


def judge_hits(hits: Iterable[Mapping[str, Any]], texts: Mapping[tuple[str, int], str]) -> list[str]:
    """Whether every hit on a document of ours is, code point for code point, from the version that it names."""
    faults = []
    for hit in hits:
        named, passage = (hit["document_id"], hit["version"]), hit["passage"]
        if named in texts and texts[named][passage["start"] : passage["end"]] != passage["text"]:
            faults.append(f"a search shows of {named} what it does not say")
    return faults


def judge_heard(heard: Heard, *, deadline: float, margin: float) -> list[str]:
    """Whether an asker got an answer or an error in time, and his stream neither doubled, garbled nor ran backwards."""
    name = f"answer {heard.id or '(never began)'}"
    return [f"{name}: {fault}" for fault in [*heard.faults, *_late(heard, deadline + margin), *_stream(heard)]]


def _late(heard: Heard, limit: float) -> Iterator[str]:
    if heard.ended is None:
        yield "its client was left waiting"
    elif (took := heard.ended - heard.asked - heard.away) > limit:
        yield f"ended after {took:.1f} s, its limit is {limit:g}"


def _stream(heard: Heard) -> Iterator[str]:
    if heard.refused or heard.ended is None:
        return
    lasts = [frame.event for frame in heard.frames if frame.event in LAST]
    if len(lasts) != 1 or heard.frames[-1].event not in LAST:
        yield f"has the last events {lasts}"
        return
    yield from _order(heard.frames)
    final = heard.frames[-1].data
    if shown(heard.frames) != final["answer"] and final["status"] in ("completed", "abstained"):
        yield f"its deltas say {shown(heard.frames)!r}, its end {final['answer']!r}"
    same = ("id", "status", "answer", "citations")
    if heard.stored is not None and any(heard.stored.get(name) != final.get(name) for name in same):
        yield "is given otherwise afterwards than it was streamed"


def _order(frames: Iterable[Frame]) -> Iterator[str]:
    before: tuple[tuple[int, int], tuple[int, int]] | None = None
    for frame in frames:
        at = position(frame.id)
        here = (entry_order(at.ask), entry_order(at.flight))
        if before is not None and (here == before or here[0] < before[0] or here[1] < before[1]):
            yield f"the event {frame.event} with {here} came after {before}"
        before = here


def shown(frames: Iterable[Frame]) -> str:
    """The answer as a page shows it: every delta since the last reset."""
    text = ""
    for frame in frames:
        if frame.event == "reset":
            text = ""
        elif frame.event == "delta":
            text += frame.data["text"]
    return text


def judge_letters(letters: Iterable[tuple[str, str]], heard: Collection[Heard], searches_failed: int) -> list[str]:
    """Of `(event type, correlation id)`: good events are never given up, but a request whose asker was told so, or was
    answered all the same, by the event of his that was published again when its leader was frozen.

    An asker who lost the connection before he knew his answer's id was told by that.
    """
    outcomes = {one.id: one.outcome for one in heard if one.id}
    nameless = {"search": searches_failed, "question": sum(not one.id for one in heard)}
    faults = []
    for event_type, correlation in letters:
        kind = "search" if event_type == events.SEARCH_REQUESTED else "question"
        if event_type in REQUESTS and correlation not in outcomes and nameless[kind] > 0:
            nameless[kind] -= 1
        elif event_type not in REQUESTS or outcomes.get(correlation) not in LAST:
            faults.append(f"a good event was given up: {event_type} of {correlation or 'nobody'}")
    return faults
