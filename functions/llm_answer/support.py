"""Support: whether the places that a sentence is tied to say all that it says, or only share words with it. Pure.

A citation shows where words of an answer stand. That is less than support: a sentence may quote three words and add a
name, turn a statement round with a "not", or put another number beside a true one. So a sentence counts as supported
only when what it adds to the question stands at the cited places, with its numbers and names, denied where it denies.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from functions.llm_answer.sources import Sentence, Source, Weights, stems_of
from functions.llm_answer.text import Word, stem, words

ENOUGH = 0.7  # share of what a sentence adds to the question that the cited sentences and their titles must have
_DENIALS = """
    not no never none nobody nothing nowhere neither nor without cannot can't couldn't didn't doesn't don't hadn't
    hasn't haven't isn't aren't mustn't shouldn't wasn't weren't won't wouldn't
"""
DENIALS = frozenset(_DENIALS.split())
NEAR = 6  # words before the first shared one within which a denial still concerns what is shared


class Place(Protocol):
    """A cited place: the passage's number, and `start` to `end` of its text."""

    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


def supported(
    said: Sequence[Word], text: str, places: Sequence[Place], sources: Sequence[Source], weigh: Weights
) -> bool:
    """Whether what `said`, the words of a sentence of the answer `text`, says is carried by the cited places."""
    around = [(sources[place.number], sentence) for place in places for sentence in _sentences(sources, place)]
    if not around:
        return False
    titles = frozenset[str]().union(*(_title(source) for source, _ in around))
    there = titles.union(*(sentence.stems for _, sentence in around))
    new = {stem(word.folded): weigh(word) for word in said if weigh.new(word)}
    carried = sum(weight for known, weight in new.items() if known in there or any(_alike(known, one) for one in there))
    if carried < ENOUGH * sum(new.values()):
        return False
    exact = {word.folded for source, sentence in around for word in source.of(sentence)}
    if not _numbers(said) - weigh.numbers <= exact:
        return False
    if not {stem(word.folded) for word in _names(said, text) if weigh.new(word)} <= there:
        return False
    return not any(_turned(said) != _turned_there(said, source, sentence) for source, sentence in around[:1])


def _alike(word: str, other: str) -> bool:
    """Whether two stems are one word in two spellings: metre and meter, colour and color, realise and realize."""
    if word[0] != other[0] or min(len(word), len(other)) < 4 or abs(len(word) - len(other)) > 1:
        return False
    mine, theirs = Counter(word.replace("z", "s")), Counter(other.replace("z", "s"))
    return (mine - theirs).total() + (theirs - mine).total() <= 1


def _sentences(sources: Sequence[Source], place: Place) -> Iterator[Sentence]:
    for sentence in sources[place.number].sentences:
        if sentence.start < place.end and place.start < sentence.end:
            yield sentence


def _title(source: Source) -> frozenset[str]:
    return stems_of(words(f"{source.passage.get('title', '')} {source.passage.get('section', '')}"))


def _numbers(some: Sequence[Word]) -> set[str]:
    return {word.folded for word in some if any(letter.isdigit() for letter in word.folded)}


def _names(some: Sequence[Word], text: str) -> list[Word]:
    """Words with a capital that do not owe it to standing first."""
    return [word for word in some[1:] if word.informative and text[word.start].isupper()]


def denies(some: Sequence[Word]) -> bool:
    """Whether a "not" or its like stands among the words."""
    return any(word.folded in DENIALS for word in some)


def _turned(some: Sequence[Word]) -> bool:
    """Whether the words say the opposite of what they would without their denials: two of them cancel out."""
    return sum(word.folded in DENIALS for word in some) % 2 == 1


def _turned_there(said: Sequence[Word], source: Source, sentence: Sentence) -> bool:
    """The same of what the sentence of the passage shares with what is said, and of the few words before it."""
    every = source.of(sentence)
    mine = stems_of(said)
    shared = [at for at, word in enumerate(every) if word.informative and stem(word.folded) in mine]
    return bool(shared) and _turned(every[max(0, shared[0] - NEAR) : shared[-1] + 1])
