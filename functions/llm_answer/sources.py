"""What citations are looked for in: passages split into words and sentences, and what each word weighs. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from functions.llm_answer.text import Word, sentences, stem, words

FROM_QUESTION = 0.15  # what a word of the question weighs: repeating it claims little
SPEAKS = 0.6  # share of the question's words from which a place speaks of what it asks
NEAR = 0.75  # share of the best such place's words below which a single shared word is taken for a coincidence


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage: the words `first` to `last` (exclusive) of it, and their stems."""

    start: int
    end: int
    first: int
    last: int
    stems: frozenset[str]


@dataclass(frozen=True)
class Source:
    """A passage prepared for matching; `number` is its place among them."""

    number: int
    passage: Mapping[str, Any]
    words: list[Word]
    sentences: list[Sentence]
    places: dict[str, list[int]]  # folded word -> indexes in `words`

    def of(self, sentence: Sentence) -> list[Word]:
        """The words of a sentence."""
        return self.words[sentence.first : sentence.last]

    def sentence_at(self, word: int) -> Sentence:
        """The sentence in which a word stands."""
        return next(each for each in self.sentences if each.first <= word < each.last)


def prepared(number: int, passage: Mapping[str, Any]) -> Source:
    every = words(passage["text"])
    places: dict[str, list[int]] = {}
    for index, word in enumerate(every):
        places.setdefault(word.folded, []).append(index)
    split, first = [], 0
    for start, end in sentences(passage["text"]):
        last = first
        while last < len(every) and every[last].start < end:
            last += 1
        if last > first:
            split.append(Sentence(start, end, first, last, stems_of(every[first:last])))
        first = last
    return Source(number, passage, every, split, places)


class Weights:
    """What a word says: more the fewer sentences of the passages have it, little when the question had it already."""

    def __init__(self, sources: Sequence[Source], question: str) -> None:
        every = [sentence.stems for source in sources for sentence in source.sentences]
        self.total = len(every)
        self.found = Counter(each for stems in every for each in stems)
        self.asked, self.pairs = stems_of(words(question)), _pairs(words(question))
        self.numbers = {word.folded for word in words(question) if any(letter.isdigit() for letter in word.folded)}
        self.rarity = {each: math.log(1 + (self.total + 1) / (self.found[each] + 1)) for each in self.asked}
        self.speaks = {(source.number, at): share for source in sources for at, share in self._speaking(source)}
        self.best = max(self.speaks.values(), default=0.0)

    def _speaking(self, source: Source) -> Iterator[tuple[int, float]]:
        """For each sentence, how much it and its neighbours have of what the question asks, and in the same order.

        About 0 to 1, more where words stand side by side as they do in the question; what the neighbours and the
        titles have counts half.
        """
        whole = sum(self.rarity.values()) or 1.0
        title = stems_of(words(f"{source.passage.get('title', '')} {source.passage.get('section', '')}"))
        for at, sentence in enumerate(source.sentences):
            around = title.union(*(each.stems for each in source.sentences[max(0, at - 1) : at + 2]))
            had = sum(self.rarity[each] / (1 if each in sentence.stems else 2) for each in self.asked & around)
            had += sum(min(map(self.rarity.__getitem__, pair)) for pair in self.pairs & _pairs(source.of(sentence)))
            yield sentence.first, had / whole

    def coincident(self, source: Source, sentence: Sentence, shared: int) -> bool:
        """Whether the question is spoken of elsewhere, and so much less here that `shared` words prove nothing."""
        share = self.speaks[source.number, sentence.first] * max(shared, 1)
        return self.best >= SPEAKS and share < NEAR * self.best

    def speaking(self, source: Source, sentence: Sentence) -> bool:
        """Whether this is a place that speaks of what the question asks, as much as any does."""
        return self.best >= SPEAKS and self.speaks[source.number, sentence.first] >= NEAR * self.best

    def new(self, word: Word) -> bool:
        """Whether the word is informative and not the question's."""
        return word.informative and stem(word.folded) not in self.asked

    def __call__(self, word: Word) -> float:
        if not word.informative:
            return 0.0
        known = stem(word.folded)
        weight = math.log(1 + (self.total + 1) / (self.found[known] + 1))
        return weight * (FROM_QUESTION if known in self.asked else 1.0)


def stems_of(some: Sequence[Word]) -> frozenset[str]:
    return frozenset(stem(word.folded) for word in some if word.informative)


def _pairs(some: Sequence[Word]) -> frozenset[tuple[str, str]]:
    """The stems of informative words that follow each other, whatever else stands between."""
    every = [stem(word.folded) for word in some if word.informative]
    return frozenset(pairwise(every))
