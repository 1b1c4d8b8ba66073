"""Answers in the form of the asker's own JSON Schema: nothing of it is cut, each value is cited by itself. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from functions.llm_answer import abstention, citations
from functions.llm_answer.citations import Tied
from knts import formats
from knts.errors import Permanent

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
_CHARACTER = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u\w{4}|\\.|.", re.DOTALL)
_COLON = re.compile(r"\s*:")
_NAMES = re.compile(r"_|(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Value:
    """A text or number in a JSON text: what it says, and where each of its characters stands, the end included."""

    said: str
    places: Sequence[int]
    number: bool = False


class Whole:
    """Stands in for the guard: what is JSON is shown as it comes, since a part of it is worth nothing."""

    stopped = False

    def __init__(self) -> None:
        self.written = self.shown = ""

    def feed(self, piece: str) -> str:
        """All of it may be shown."""
        self.written += piece
        self.shown = self.written
        return piece

    def end(self, *, cut: bool = False) -> str:
        """The answer. Raises Permanent where the model's limit cut it."""
        if cut:
            raise Permanent("the model's answer was cut at its limit before its JSON was whole")
        return self.written


def check(answer: str, schema: Mapping[str, Any]) -> None:
    """Raises Permanent where an answer is not JSON that fits the schema."""
    if misfit := formats.misfit(schema, answer):
        raise Permanent(f"the model's answer does not fit the schema: {misfit}")


def abstains(answer: str) -> str | None:
    """Why an answer is none: every text in it says that the documents do not tell; else None."""
    reasons = [abstention.after(value.said) for value in values(answer) if not value.number]
    return reasons[0] if reasons and all(reasons) else None


def tie(answer: str, passages: Sequence[Mapping[str, Any]], question: str) -> Tied:
    """Tie each value to what carries it; all places count in the JSON text. A number counts whole."""
    found = Tied([], [])
    for value in values(answer):
        tied = citations.tie(value.said, passages, question)
        placed = [{**citation, **_placed(value, citation, "answer_start", "answer_end")} for citation in tied.citations]
        found.citations.extend(citation for citation in placed if citation not in found.citations)
        for sentence in tied.sentences:
            at = sorted({found.citations.index(placed[index]) for index in sentence["citations"]})
            found.sentences.append({**sentence, **_placed(value, sentence, "start", "end"), "citations": at})
    return found


def _placed(value: Value, part: Mapping[str, Any], start: str, end: str) -> dict[str, int]:
    first, last = (0, -1) if value.number else (part[start], part[end])
    return {start: value.places[first], end: value.places[last]}


def values(text: str) -> Iterator[Value]:
    """The texts and numbers of a valid JSON text, in its order, without the names; a number says its name too."""
    name = ""
    for literal in _LITERAL.finditer(text):
        start, end = literal.span()
        if not literal.group().startswith('"'):
            yield Value(f"{literal.group()} {_NAMES.sub(' ', name)}", [start, end], number=True)
        elif _COLON.match(text, end):
            name = orjson.loads(literal.group())
        else:
            inner = list(_CHARACTER.finditer(text, start + 1, end - 1))
            yield Value(orjson.loads(literal.group()), [*(one.start() for one in inner), end - 1])
