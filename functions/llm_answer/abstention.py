"""Abstention: whether the passages can hold the answer at all, and whether the model says that they don't. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from functions.llm_answer.text import sentences, stem, words

REFUSAL = "The documents do not tell."  # what the prompt asks the model to say

MOST_WORDS = 100  # of a question that are looked at, since each is held against every word of the passages

NO_PASSAGES = "no document that may be read fits the question"
UNRELATED = "the nearest documents do not speak of what the question asks"
UNSUPPORTED = "no passage holds what the answer says"
NO_WORDS = "the model wrote nothing but the question's own frame"
NOT_TOLD = "the model finds no answer in the nearest documents"


def before(question: str, passages: Sequence[Mapping[str, Any]]) -> str | None:
    """Why there is nothing to answer from, decided before a word is generated; None when it is worth trying.

    A question without any informative word can't be judged by its words, and is tried.
    """
    if not passages:
        return NO_PASSAGES
    asked = {stem(word.folded) for word in words(question)[:MOST_WORDS] if word.informative}
    known = {word for passage in passages for word in told(passage)}
    if not asked or asked & known or any(_misspelt(word, other) for word in asked for other in known):
        return None
    return UNRELATED


def after(answer: str) -> str | None:
    """Why a finished answer is none: it says that the documents do not tell, as the prompt asks for; else None.

    It may say so at its beginning, or with a sentence that ends so ("The answer is: …").
    """
    refusal = _folded(REFUSAL)
    ends = [_folded(answer[start:end])[-len(refusal) :] for start, end in sentences(answer)]
    return NOT_TOLD if refusal in [_folded(answer)[: len(refusal)], *ends] else None


def _folded(text: str) -> list[str]:
    return [word.folded for word in words(text)]


def _misspelt(word: str, other: str) -> bool:
    """Whether two words differ so little that one may be meant by the other: search forgives typos, so must this."""
    if word[0] != other[0] or min(len(word), len(other)) < 4 or abs(len(word) - len(other)) > 1:
        return False
    mine, theirs = Counter(word), Counter(other)
    return (mine - theirs).total() + (theirs - mine).total() <= 2


def told(passage: Mapping[str, Any]) -> set[str]:
    """The stems of all words of a passage and its titles."""
    text = " ".join((passage["text"], passage.get("title", ""), passage.get("section", "")))
    return {stem(word.folded) for word in words(text)}
