"""Excerpts: what of each passage a prompt shows where there is not room for all of them. Pure.

A sentence is shown whole or not at all; those come first that share the rarest words with the question, or stand in the
passage whose meaning is most like it, then what stands beside them. Left out is left out of the prompt alone: citations
are looked for in the whole passage.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.llm_answer.text import sentences, stem, words

GAP = " … "  # stands where sentences were left out
BESIDE = 0.6  # what a sentence inherits from its neighbour: an answer often stands beside the question's words
LIKED = 1.2  # what the sentences of the passage likest the question gain, of the best sentence's value by words
STEEP = 3  # how fast that becomes less with the likeness: a third of it is left at two thirds of the likest
FIRST = 0.02  # what one place further back in the ranking costs a passage's sentences, of the best sentence's value


@dataclass(frozen=True)
class _Sentence:
    passage: int
    start: int
    end: int
    stems: frozenset[str]


def excerpts(
    question: str, passages: Sequence[Mapping[str, Any]], room: int, tokens: Callable[[str], int]
) -> list[str]:
    """What to show of each passage, in their order, of about `room` tokens in all; empty for those left out.

    The best sentence is shown even where it alone takes more.
    """
    if sum(tokens(passage["text"]) for passage in passages) <= room:
        return [passage["text"] for passage in passages]
    every = [sentence for number, passage in enumerate(passages) for sentence in _split(number, passage["text"])]
    values = _values(question, every, passages)
    chosen: set[int] = set()
    for at in sorted(range(len(every)), key=lambda at: (-values[at], at)):
        cost = tokens(passages[every[at].passage]["text"][every[at].start : every[at].end])
        if cost <= room or not chosen:
            chosen.add(at)
            room -= cost
    return [
        _joined(passage["text"], [every[at] for at in sorted(chosen) if every[at].passage == number])
        for number, passage in enumerate(passages)
    ]


def _split(number: int, text: str) -> Iterator[_Sentence]:
    for start, end in sentences(text):
        yield _Sentence(
            number, start, end, frozenset(stem(word.folded) for word in words(text[start:end]) if word.informative)
        )


def likeness(passage: Mapping[str, Any]) -> float:
    """How like the question it is in meaning; 0 where search does not know it."""
    return max(0.0, float(passage.get("likeness", 0.0)))


def _values(question: str, every: Sequence[_Sentence], passages: Sequence[Mapping[str, Any]]) -> list[float]:
    asked = {stem(word.folded) for word in words(question) if word.informative}
    found = Counter(word for sentence in every for word in sentence.stems & asked)
    weight = {word: math.log(1 + len(every) / count) for word, count in found.items()}
    own = [sum(weight[word] for word in sentence.stems & asked) for sentence in every]
    best = max(own, default=0.0) or 1.0
    likest = max(map(likeness, passages), default=0.0) or 1.0
    liked = [LIKED * best * (likeness(passage) / likest) ** STEEP for passage in passages]
    return [
        max(
            value,
            *(
                BESIDE * own[near]
                for near in (at - 1, at + 1)
                if 0 <= near < len(every) and every[near].passage == every[at].passage
            ),
            0.0,
        )
        + liked[every[at].passage]
        - FIRST * best * every[at].passage
        for at, value in enumerate(own)
    ]


def _joined(text: str, chosen: Sequence[_Sentence]) -> str:
    """The chosen sentences as they stand, with a mark where others were between them."""
    parts: list[str] = []
    last = None
    for sentence in chosen:
        if last is not None:
            between = text[last : sentence.start]
            parts.append(between if not between.strip() else GAP)
        parts.append(text[sentence.start : sentence.end])
        last = sentence.end
    return "".join(parts)
