"""Abstention: whether the passages can hold the answer at all, and whether the model says that they don't. Pure.

Before the first word it is decided by what the passages have of the question: its meaning, where search knows how like
it they are; its words, those with a capital or a digit above all; and whether they deny what it denies. Both tell well
whether the documents speak of a matter at all, and badly whether what they say of it is the answer:
`python -m bench.abstention` measures it.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.llm_answer.support import denies
from functions.llm_answer.text import Word, sentences, stem, words

REFUSAL = "The documents do not tell."  # what the prompt asks the model to say

MOST_WORDS = 100  # of a question that are looked at, since each is held against every word of the passages

# Of `Signals.trust`, below which it is not worth trying; python -m bench.abstention prints the curves.
LEAST_BY_WORDS = 0.27
LEAST_BY_MEANING = 0.33
NAMED = 0.2  # what it counts that the question's names are all there, or all missing, where words alone are known
NAMED_BESIDE, COVERED_BESIDE = 0.05, 0.3  # what names, and coverage, count beside a likeness
BY_CHANCE = 0.3  # coverage up to which some passage comes by chance, and which counts nothing beside a likeness
# The models whose likeness these numbers were measured on, in English; others have other scales. By all others, and in
# other letters than Latin ones, of which these models know next to none, words alone decide.
MEASURED = frozenset(("all-minilm", "all-minilm:22m", "all-minilm:latest"))
AT_ITS_HEAD = 3  # words of a question among which a "not" denies what it asks for, and no circumstance of it
EXCEPTIONS = frozenset(("except", "exclud", "unles", "fail", "lack", "refus", "unabl"))  # stems that deny too
BESIDE = 0.6  # what a word of the question counts that stands in a title or in the neighbouring sentence

NO_PASSAGES = "no document that may be read fits the question"
UNRELATED = "the nearest documents do not speak of what the question asks"
DENIED = "the question asks what is not so, and the nearest documents only say what is"
UNSUPPORTED = "no passage holds what the answer says"
NO_WORDS = "the model wrote nothing but the question's own frame"
NOT_FOUND = "a model that reads the nearest documents first does not find the answer in them"
NOT_TOLD = "the model finds no answer in the nearest documents"


@dataclass(frozen=True)
class Signals:
    """What the place that speaks most of what a question asks has of it.

    `coverage` is the share of the question's informative words, 0 to 1, rare ones counting more; `names` the share of
    its names and numbers that stand there, None without any; `denied` whether it denies something and they do not;
    `likeness` how like the likest passage is to it in meaning, None where that is not known.
    """

    coverage: float
    names: float | None
    denied: bool
    likeness: float | None = None

    @property
    def trust(self) -> float:
        """One number, about 0 to 1: the less, the less it is worth trying."""
        named = 0.0 if self.names is None else 2 * self.names - 1
        if self.likeness is None:
            return self.coverage + NAMED * named
        return self.likeness + COVERED_BESIDE * max(0.0, self.coverage - BY_CHANCE) + NAMED_BESIDE * named

    @property
    def enough(self) -> bool:
        """Whether it is worth trying."""
        return self.trust >= (LEAST_BY_WORDS if self.likeness is None else LEAST_BY_MEANING)


def before(question: str, passages: Sequence[Mapping[str, Any]]) -> str | None:
    """Why there is nothing to answer from, decided before a word is generated; None when it is worth trying.

    A question without any informative word can't be judged by its words, and is tried. While a collection is being
    embedded, passages that have no embedding yet are judged by words.
    """
    if not passages:
        return NO_PASSAGES
    found = signals(question, passages)
    if found is None:
        return None
    if not found.enough and not _enough_by_words(question, [each for each in passages if not each.get("embedded_by")]):
        return UNRELATED
    return DENIED if found.denied else None


def _enough_by_words(question: str, passages: Sequence[Mapping[str, Any]]) -> bool:
    found = signals(question, passages) if passages else None
    return found is not None and found.enough


def signals(question: str, passages: Sequence[Mapping[str, Any]]) -> Signals | None:
    """What the passages have of a question; None where it has no informative word."""
    every = words(question)[:MOST_WORDS]
    asked = {stem(word.folded) for word in every if word.informative}
    if not asked:
        return None
    places = [place for passage in passages for place in _places(passage)]
    meant = _meant(asked, {known for place in places for known in place.near})
    found = Counter(known for place in places for known in {meant.get(word, word) for word in asked} & place.stems)
    weight = {word: math.log(1 + (len(places) + 1) / (found[meant.get(word, word)] + 1)) for word in asked}
    best, coverage = None, -1.0
    for place in places:
        had = sum(
            weight[word] * (1.0 if meant.get(word, word) in place.stems else BESIDE)
            for word in asked
            if meant.get(word, word) in place.near
        )
        if had / sum(weight.values()) > coverage:
            best, coverage = place, had / sum(weight.values())
    likeness = likest(passages) if _latin(question) else None
    if best is None:
        return Signals(0.0, None, denied=False, likeness=likeness)
    named = {stem(word.folded) for word in _names(every, question)}
    there = {word for word in named if meant.get(word, word) in best.near}
    denied = _asks_what_is_not(every) and not best.denies
    return Signals(coverage, len(there) / len(named) if named else None, denied, likeness)


def likest(passages: Iterable[Mapping[str, Any]]) -> float | None:
    """How like the question the likest passage is; None where no model that is measured has told."""
    known = (each["likeness"] for each in passages if "likeness" in each and each.get("embedded_by") in MEASURED)
    return max(known, default=None)


def _latin(text: str) -> bool:
    """Whether most of its letters are Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) > len(letters)


def _asks_what_is_not(every: Sequence[Word]) -> bool:
    """Whether a question asks for what is not so: "Which plans don't …?", but not "Why can't I …?"."""
    asks = bool(every) and every[0].folded not in ("why", "how")
    return asks and denies(every[:AT_ITS_HEAD])


@dataclass(frozen=True)
class _Place:
    """A sentence of a passage: its stems, and those of its neighbours and titles too."""

    stems: frozenset[str]
    near: frozenset[str]
    denies: bool


def _places(passage: Mapping[str, Any]) -> Iterator[_Place]:
    text = passage["text"]
    said = [words(text[start:end]) for start, end in sentences(text)]
    stems = [frozenset(stem(word.folded) for word in each) for each in said]
    titles = {stem(word.folded) for word in words(f"{passage.get('title', '')} {passage.get('section', '')}")}
    for at, each in enumerate(said):
        yield _Place(
            stems[at],
            frozenset(titles.union(*stems[max(0, at - 1) : at + 2])),
            denies(each) or bool(EXCEPTIONS & stems[at]),
        )


def _meant(asked: set[str], known: set[str]) -> dict[str, str]:
    """The words of the passages that are meant by misspelt ones of the question."""
    close = {word: [other for other in known if _misspelt(word, other)] for word in asked - known}
    return {word: min(others) for word, others in close.items() if others}


def _names(every: Sequence[Word], text: str) -> list[Word]:
    """Words with a digit, and those with a capital that do not owe it to standing first."""
    return [
        word
        for at, word in enumerate(every)
        if word.informative and (any(map(str.isdigit, word.folded)) or (at and text[word.start].isupper()))
    ]


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
