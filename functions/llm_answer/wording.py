"""Another wording: whether the answer that one question has may be given to who asks another. Pure.

Two questions ask the same when their embeddings are close and no guard finds what they differ in.
"""

import re
from dataclasses import dataclass

from functions.llm_answer.text import words

LEAST = 0.97  # cosine of the two questions' embeddings
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NOT = frozenset("no not never none nothing nobody without cannot neither nor".split())


@dataclass(frozen=True)
class Verdict:
    """Whether it may; else `reason` names the guard that refused."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def same(asked: str, known: str, likeness: float) -> Verdict:
    """Whether the cached answer of `known` may be given to who asked `asked`.

    `likeness` is the cosine of the two questions' embeddings, by the model that the cache's entries were made with.
    """
    if sorted(_NUMBER.findall(asked)) != sorted(_NUMBER.findall(known)):
        return Verdict("number")
    if _denies(asked) != _denies(known):
        return Verdict("negation")
    return Verdict() if likeness >= LEAST else Verdict("likeness")


def _denies(question: str) -> bool:
    return any(word.folded in _NOT or word.folded.endswith("n't") for word in words(question))
