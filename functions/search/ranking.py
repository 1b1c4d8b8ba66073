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
from functools import lru_cache
from itertools import pairwise, product

from functions.search.query import Query, Term
from functions.search.stems import stem
from knts.lookup import Chunk

K1, B = 1.2, 0.75
TITLE, SECTION = 1.0, 0.5  # how often a word in the title or the section's title counts as one in the text
ADJACENT, NEAR = 0.3, 0.3  # weight of two neighbouring words of the query found side by side, and close together
WINDOW = 8  # words that are still close
RUN = 0.3  # for each two of the threes of words that stand in a row as they were typed, stop words too
MOST_RUNS = 8
SHORTEST = 0.3  # of the average length: shorter passages don't count as shorter than that
MISSPELT = 0.8  # of the weight is left with each letter that differs from what was typed
DIGITS = 4  # of a score that are told

Group = tuple[Term, ...]  # the words that one typed word may stand for


@dataclass(frozen=True)
class Ranked:
    """A passage and its score; the model that embedded it, and how like the question its meaning is, where known."""

    chunk: Chunk
    score: float
    likeness: float | None = None
    embedded_by: str = ""


def rarity(holding: int, total: int) -> float:
    """The weight of a word that `holding` of `total` passages hold: never negative, higher for rare ones."""
    holding = min(holding, total)
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))


def weights_of(counts: Mapping[Term, int], total: int, times: Mapping[str, int] | None = None) -> dict[Term, float]:
    """The weight of each term by the number of passages that hold it, and by how often it was typed.

    Less for one that was not typed like that. `times` are by stem.
    """
    often = times or {}
    return {
        term: rarity(count, total) * MISSPELT**term.away * often.get(stem(term.typed), 1)
        for term, count in counts.items()
    }


def most_promising(lists: Iterable[tuple[float, Sequence[str]]], most: int) -> list[str]:
    """The ids in the lists with the most weight together, at most `most` of them, the best first."""
    weights: defaultdict[str, float] = defaultdict(float)
    for weight, ids in lists:
        for chunk_id in ids:
            weights[chunk_id] += weight
    return sorted(weights, key=lambda chunk_id: (-weights[chunk_id], chunk_id))[:most]


def rank(query: Query, weights: Mapping[Term, float], chunks: Sequence[Chunk]) -> list[Ranked]:
    """The passages with their scores, best first; equal ones by document and place."""
    ranking = Ranking(query, weights)
    ranking.count(chunks)
    return ranking.ranked()


class Ranking:
    """Passages are counted as they come, and scored when all are there: a score depends on the average length."""

    def __init__(self, query: Query, weights: Mapping[Term, float]) -> None:
        self._matcher = Matcher(weights)
        self._asked = Asked.of(query, weights, self._matcher)
        self._counted: list[Counted] = []

    def count(self, chunks: Iterable[Chunk]) -> None:
        """Take these passages in."""
        self._counted += [Counted.of(chunk, self._matcher) for chunk in chunks]

    def ranked(self) -> list[Ranked]:
        """All of them with their scores, best first; equal ones by document and place."""
        average = max(1.0, sum(each.length for each in self._counted) / len(self._counted)) if self._counted else 1.0
        ranked = [Ranked(each.chunk, round(each.score(self._asked, average), DIGITS)) for each in self._counted]
        return sorted(ranked, key=lambda each: (-each.score, each.chunk.document_id, each.chunk.number))


def neighbours(query: Query) -> list[tuple[Group, Group]]:
    """The typed words that follow each other, stop words between them aside."""
    by_stem = {stem(group[0].typed): group for group in query.groups}
    found: list[tuple[Group, Group]] = []
    for words in (query.words, *query.phrases):
        sequence = [by_stem[root] for root in map(stem, words) if root in by_stem]
        found += [pair for pair in pairwise(sequence) if pair[0] != pair[1]]
    return list(dict.fromkeys(found))


def trigrams(query: Query) -> frozenset[tuple[str, ...]]:
    """All threes of words in a row, in each spelling that they may stand for."""
    spelt = {group[0].typed: tuple(term.form for term in group) for group in query.groups}
    sequence = [spelt.get(form, (form,)) for form in query.words]
    threes = zip(sequence, sequence[1:], sequence[2:], strict=False)
    return frozenset(three for alternatives in threes for three in product(*alternatives))


def _in_texts(query: Query) -> frozenset[str]:
    return frozenset(f" {' '.join(three)} " for three in trigrams(query))


@dataclass(frozen=True)
class Asked:
    """What passages are scored by, the terms as the numbers that a matcher gives them: counting is for numbers."""

    weights: Sequence[float]
    groups: Sequence[tuple[int, ...]]
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    runs: frozenset[str]  # threes of words, each as it stands in a text between spaces
    spelt: bool  # whether a typed word may stand for several

    @classmethod
    def of(cls, query: Query, weights: Mapping[Term, float], matcher: "Matcher") -> "Asked":
        """What the query asks."""
        groups = {group: tuple(matcher.numbers[term] for term in group) for group in query.groups}
        pairs = [(groups[one], groups[other]) for one, other in neighbours(query)]
        spelt = any(len(group) > 1 for group in groups.values())
        return cls([weights[term] for term in matcher.numbers], list(groups.values()), pairs, _in_texts(query), spelt)


@dataclass(frozen=True)
class Counted:
    """A passage with the places of each of the query's words in its text, and their weighted number in its titles.

    Words are the numbers of their terms.
    """

    chunk: Chunk
    length: int
    places: Mapping[int, Sequence[int]]
    titled: Mapping[int, float]

    @classmethod
    def of(cls, chunk: Chunk, matcher: "Matcher") -> "Counted":
        """Count the terms in a passage."""
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, term in matcher.terms_in(chunk.words):
            places[term].append(place)
        return cls(chunk, len(roots(chunk.words)), places, matcher.titled(chunk.title_words, chunk.section_words))

    def score(self, asked: Asked, average: float) -> float:
        """The sum over what was typed, over words that follow each other there, and over what was typed in a row."""
        norm = 1 - B + B * max(self.length / average, SHORTEST)
        single = {term: self._single(term, asked, norm) for term in self.places.keys() | self.titled.keys()}
        if asked.spelt and single:
            words = sum(max(single.get(term, 0.0) for term in group) for group in asked.groups)
        else:
            words = sum(single.values())
        together = 0.0
        for one, other in asked.pairs if len(self.places) > 1 else ():
            if (first := self._all_places(one)) and (second := self._all_places(other)):
                weight = (self._heaviest(one, asked) + self._heaviest(other, asked)) / 2
                together += weight * _together(first, second, norm)
        return words + together + RUN * self.runs(asked.runs)

    def runs(self, wanted: frozenset[str]) -> int:
        """How many pairs there are of the threes that stand here in a row: one alone is chance, many are a quote."""
        if len(wanted) < 2:
            return 0
        times = sum(map(f" {self.chunk.words} ".__contains__, wanted))
        return math.comb(min(times, MOST_RUNS), 2)

    def _single(self, term: int, asked: Asked, norm: float) -> float:
        times = len(self.places.get(term, ())) / norm + self.titled.get(term, 0)
        return asked.weights[term] * _saturated(times)

    def _all_places(self, group: tuple[int, ...]) -> Sequence[int]:
        if len(group) == 1:
            return self.places.get(group[0], ())
        return sorted(place for term in group for place in self.places.get(term, ()))

    def _heaviest(self, group: tuple[int, ...], asked: Asked) -> float:
        if len(group) == 1:
            return asked.weights[group[0]]
        return max(asked.weights[term] for term in group if term in self.places)


class Matcher:
    """Which of a query's terms, by their `numbers`, a word counts as. Titles are read once: many passages share one."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.numbers = {term: number for number, term in enumerate(terms)}
        by_stem: defaultdict[str, tuple[int, ...]] = defaultdict(tuple)
        for term, number in self.numbers.items():
            by_stem[term.stem] += (number,)
        self._by_stem = dict(by_stem)
        self._open = tuple((term.form, number) for term, number in self.numbers.items() if term.open)
        self._titled: dict[tuple[str, str], Mapping[int, float]] = {}

    def terms_of(self, form: str) -> tuple[int, ...]:
        """The terms that a folded word counts as: those of its stem, and open ones that it begins with."""
        found = self._by_stem.get(stem(form), ())
        begun = (number for beginning, number in self._open if form.startswith(beginning) and number not in found)
        return (*found, *begun) if self._open else found

    def terms_in(self, words: str) -> list[tuple[int, int]]:
        """The places of words that count as a term, in order, with the term."""
        held = enumerate(map(self._by_stem.get, roots(words)))
        places = [(at, number) for at, numbers in held if numbers for number in numbers]
        for beginning, number in self._open:
            if f" {beginning}" in f" {words}":
                begun = (at for at, form in enumerate(words.split()) if form.startswith(beginning))
                places = sorted({*places, *((at, number) for at in begun)})
        return places

    def titled(self, title: str, section: str) -> Mapping[int, float]:
        """The weighted number of times that each term stands in a passage's titles, which are folded words."""
        known = self._titled.get((title, section))
        if known is None:
            counts: defaultdict[int, float] = defaultdict(float)
            for weight, words in ((TITLE, title), (SECTION, section)):
                for _, term in self.terms_in(words):
                    counts[term] += weight
            known = self._titled[title, section] = counts
        return known


@lru_cache(8192)  # of passages and titles; some 10 MiB
def roots(words: str) -> tuple[str, ...]:
    """The stems of folded words parted by spaces."""
    return tuple(map(stem, words.split()))


def _together(first: Sequence[int], second: Sequence[int], norm: float) -> float:
    side_by_side = close = 0
    for at in first:
        if _any_within(second, at - WINDOW, at + WINDOW):
            close += 1
            side_by_side += _any_within(second, at + 1, at + 2)
    return ADJACENT * _saturated(side_by_side / norm) + NEAR * _saturated(close / norm)


def _any_within(places: Sequence[int], first: int, last: int) -> bool:
    at = bisect_left(places, first)
    return at < len(places) and places[at] <= last


def _saturated(times: float) -> float:
    return times * (K1 + 1) / (times + K1)
