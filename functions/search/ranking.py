"""How well a passage answers a query: BM25 over text, title and section, and a bonus for words that stand together.

Typesense finds; it has no notion of rare and common words, so the order of what it finds is decided here. Pure. Every
number that goes in (how many passages there are and hold a word, how long they are) is counted in the asker's scope.
Source: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009); the pairs after Metzler and Croft (2005).
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from functions.search.query import Query, Term
from functions.search.stems import stem
from knts.lookup import Chunk

K1, B = 1.2, 0.75
TITLE, SECTION = 1.5, 1.0  # how often a word in the title or the section's title counts as one in the text
ADJACENT, NEAR = 0.3, 0.3  # weight of two neighbouring words of the query found side by side, and close together
WINDOW = 8  # words that are still close
DIGITS = 4  # of a score that are told


@dataclass(frozen=True)
class Ranked:
    """A passage and its score."""

    chunk: Chunk
    score: float


def rarity(holding: int, total: int) -> float:
    """The weight of a word that `holding` of `total` passages hold: never negative, higher for rare ones."""
    holding = min(holding, total)
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))


def most_promising(lists: Iterable[tuple[float, Sequence[str]]], most: int) -> list[str]:
    """The ids in the lists with the most weight together, at most `most` of them, the best first."""
    weights: defaultdict[str, float] = defaultdict(float)
    for weight, ids in lists:
        for chunk_id in ids:
            weights[chunk_id] += weight
    return sorted(weights, key=lambda chunk_id: (-weights[chunk_id], chunk_id))[:most]


def rank(query: Query, weights: Mapping[Term, float], chunks: Sequence[Chunk]) -> list[Ranked]:
    """The passages with their scores, best first; equal ones by document and place."""
    matcher = Matcher(weights)
    counted = [Counted.of(chunk, matcher) for chunk in chunks]
    average = sum(chunk.length for chunk in counted) / len(counted) if counted else 1.0
    pairs = neighbours(query, weights)
    ranked = [Ranked(each.chunk, round(each.score(weights, pairs, average), DIGITS)) for each in counted]
    return sorted(ranked, key=lambda each: (-each.score, each.chunk.document_id, each.chunk.number))


Pair = tuple[Term, Term]


def neighbours(query: Query, terms: Iterable[Term]) -> list[Pair]:
    """The pairs of ranked words that follow each other in the query, stop words between them aside."""
    by_stem = {term.stem: term for term in terms}
    found: list[Pair] = []
    for words in (query.words, *query.phrases):
        sequence = [by_stem[root] for root in map(stem, words) if root in by_stem]
        found += [pair for pair in pairwise(sequence) if pair[0] != pair[1]]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Counted:
    """A passage with the places of each of the query's words in its text, and their number in its titles."""

    chunk: Chunk
    length: int
    places: Mapping[Term, Sequence[int]]
    titled: Mapping[Term, float]

    @classmethod
    def of(cls, chunk: Chunk, matcher: "Matcher") -> "Counted":
        """Count the terms in a passage."""
        text = chunk.words.split()
        places: defaultdict[Term, list[int]] = defaultdict(list)
        for place, term in matcher.terms_in(text):
            places[term].append(place)
        titled: defaultdict[Term, float] = defaultdict(float)
        for weight, words in ((TITLE, chunk.title_words), (SECTION, chunk.section_words)):
            for _, term in matcher.terms_in(words.split()):
                titled[term] += weight
        return cls(chunk, len(text), places, titled)

    def score(self, weights: Mapping[Term, float], pairs: Iterable[Pair], average: float) -> float:
        """The sum over the words and pairs of the query."""
        norm = K1 * (1 - B + B * self.length / max(average, 1.0))
        words = sum(
            weight * _saturated(len(self.places.get(term, ())) + self.titled.get(term, 0), norm)
            for term, weight in weights.items()
        )
        return words + sum(self._together(pair, weights, norm) for pair in pairs)

    def _together(self, pair: Pair, weights: Mapping[Term, float], norm: float) -> float:
        first, second = (self.places.get(term, ()) for term in pair)
        if not first or not second:
            return 0.0
        side_by_side = sum(_any_within(second, at + 1, at + 2) for at in first)
        close = sum(_any_within(second, at - WINDOW, at + WINDOW) for at in first)
        weight = (weights[pair[0]] + weights[pair[1]]) / 2
        return weight * (ADJACENT * _saturated(side_by_side, norm) + NEAR * _saturated(close, norm))


class Matcher:
    """Which of a query's terms a word counts as."""

    def __init__(self, terms: Iterable[Term]) -> None:
        terms = list(terms)
        self._by_stem: dict[str, tuple[Term, ...]] = {term.stem: (term,) for term in terms}
        self._open = tuple(term for term in terms if term.open)
        self._known: dict[str, tuple[Term, ...]] = {}

    def terms_of(self, form: str) -> tuple[Term, ...]:
        """The terms that a folded word counts as: those of its stem, and open ones that it begins with."""
        known = self._known.get(form)
        if known is None:
            found = self._by_stem.get(stem(form), ())
            known = found + tuple(term for term in self._open if form.startswith(term.form) and term not in found)
            self._known[form] = known
        return known

    def terms_in(self, forms: Sequence[str]) -> list[tuple[int, Term]]:
        """The places of words that count as a term, with the term; the work is done once for each different word."""
        telling = {form for form in set(forms) if self.terms_of(form)}
        return [(at, term) for at, form in enumerate(forms) if form in telling for term in self._known[form]]


def _any_within(places: Sequence[int], first: int, last: int) -> bool:
    at = bisect_left(places, first)
    return at < len(places) and places[at] <= last


def _saturated(times: float, norm: float) -> float:
    return times * (K1 + 1) / (times + norm) if times else 0.0
