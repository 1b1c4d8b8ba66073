"""Guards: what two questions may differ in although they are close on the whole. Pure.

Each guard is one function of a pair, true where the questions differ in its matter. `GUARDS` is the table of them in
the order in which they are asked; a name in it is the reason that a verdict gives.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from functions.llm_answer.wording_question import Question, Word
from functions.llm_answer.wording_tables import (
    ENDINGS,
    JOINS,
    MODALS,
    NEGATIVE,
    OPPOSITES,
    OWNERS,
    PERSONS,
    QUANTITIES,
    SOMEBODY,
    SPEAKERS,
    TENSES,
    TIMES,
    TOWARDS,
)

Guard = Callable[["Pair"], bool]
SHORTEST_EST = 6  # letters that a superlative has, since a test is none
SUPERLATIVE = frozenset(("most", "least", "best", "good", "worst"))


@dataclass(frozen=True)
class Pair:
    """Two questions, and which words of one are which of the other."""

    one: Question
    other: Question

    @cached_property
    def met(self) -> Sequence[tuple[Word, Word]]:
        """The words that both have, each once, in the order of the first question."""
        free, met = list(self.other.words), dict[Word, Word]()
        for alike in (_equal, _derived):
            if alike is _derived and not met:
                break  # of a lone word each letter counts: a deposit is no deposition
            for word in self.one.words:
                if word not in met and (found := next((each for each in free if alike(word, each)), None)):
                    met[word] = found
                    free.remove(found)
        return sorted(met.items(), key=lambda each: each[0].at)

    @cached_property
    def alone(self) -> tuple[Sequence[Word], Sequence[Word]]:
        """The words of each that the other has not, or not as often."""
        mine, theirs = {word for word, _ in self.met}, {word for _, word in self.met}
        return (
            [word for word in self.one.words if word not in mine],
            [word for word in self.other.words if word not in theirs],
        )

    @property
    def apart(self) -> Sequence[Word]:
        """Those of both that say something of the matter."""
        return [word for each in self.alone for word in each if not word.light]

    @property
    def reworded(self) -> bool:
        """Whether it is not in the same words: other words, other prepositions, or another order."""
        places = [theirs.at for _, theirs in self.met]
        return (
            any(self.alone)
            or any((mine.root, mine.marker) != (theirs.root, theirs.marker) for mine, theirs in self.met)
            or places != sorted(places)
        )


def _equal(one: Word, other: Word) -> bool:
    return one.form == other.form


def _derived(one: Word, other: Word) -> bool:
    """Whether two words come from one: manage and management, but not employer and employee."""
    if one.number or other.number or one.name or other.name:
        return False
    shared = next(
        (at for at, (mine, theirs) in enumerate(zip(one.form, other.form, strict=False)) if mine != theirs),
        min(len(one.form), len(other.form)),
    )
    return shared >= 4 and one.form[shared:] in ENDINGS and other.form[shared:] in ENDINGS


def length(pair: Pair) -> bool:
    """One of them is a text rather than a question."""
    return pair.one.long or pair.other.long


def number(pair: Pair) -> bool:
    """Other numbers: amounts, versions, years."""
    return _numbers(pair.one) != _numbers(pair.other)


def _numbers(question: Question) -> Counter[str]:
    return Counter(word.form for word in question.words if word.number)


def unit(pair: Pair) -> bool:
    """The same numbers of something else."""
    return _units(pair.one) != _units(pair.other)


def _units(question: Question) -> Counter[tuple[str, str]]:
    """Each number with the word behind it, where one stands there."""
    follows = {word.at: word.form for word in question.words}
    return Counter((word.form, follows.get(word.at + 1, "")) for word in question.words if word.number)


def negation(pair: Pair) -> bool:
    """One denies what the other does not."""
    return pair.one.denies != pair.other.denies


def opposite(pair: Pair) -> bool:
    """One has a word where the other has its opposite."""
    one, other = ({word.form for word in each} for each in pair.alone)
    return any(frozenset((mine, theirs)) in OPPOSITES for mine in one for theirs in other)


def quantity(pair: Pair) -> bool:
    """All or some; more, less or as much; most or least; the worst."""
    return _told(pair, QUANTITIES)


def time(pair: Pair) -> bool:
    """What was, is or will be; today or tomorrow; before or after."""
    return _told(pair, TENSES) or _told(pair, TIMES)


def kind(pair: Pair) -> bool:
    """Another type of answer: who, what, where, when, why, how, how many, whether; where none is named, what."""
    return (pair.one.kind or "what") != (pair.other.kind or "what")


def modal(pair: Pair) -> bool:
    """What can, may, must, should or would be, or is; how to do a thing and how it can be done is the same."""
    one, other = _says(pair.one, MODALS), _says(pair.other, MODALS)
    if pair.one.kind == "where":
        return one - {"can"} != other - {"can"}
    return pair.one.kind != "how" and one != other


def person(pair: Pair) -> bool:
    """His or hers, mine or yours; whom I call or who calls me; what I owe you or you owe me; what is or has."""
    one, other = ([SPEAKERS[word] for word in each.plain if word in SPEAKERS] for each in (pair.one, pair.other))
    mine, theirs = _says(pair.one, OWNERS), _says(pair.other, OWNERS)
    if pair.one.kind != "how" and mine and theirs and mine != theirs:
        return True
    return _told(pair, PERSONS) or (one != other and max(len({*one}), len({*other})) > 1)


def voice(pair: Pair) -> bool:
    """Who does it or to whom it is done: "who calls", "who is called"; what happens or what happened."""
    return any(_done(pair.one, mine) != _done(pair.other, theirs) for mine, theirs in pair.met)


def _done(question: Question, word: Word) -> bool:
    return question.plain[word.at].endswith("ed") or question.plain[max(0, word.at - 1)] == "be"


def join(pair: Pair) -> bool:
    """Both or one of both: "and" where the other has "or"."""
    mine, theirs = ({"and", "or"} & {*each.plain} for each in (pair.one, pair.other))
    return bool(mine - theirs) and bool(theirs - mine)


def _told(pair: Pair, table: Mapping[str, str]) -> bool:
    one, other = (_says(each, table) for each in (pair.one, pair.other))
    return one != other


def _says(question: Question, table: Mapping[str, str]) -> set[str]:
    """What a question says by words of a table, in the singular or the plural."""
    return {table.get(word) or table.get(word.removesuffix("s"), "") for word in question.plain} - {""}


def quote(pair: Pair) -> bool:
    """What is quoted is asked about as it stands."""
    return any(" " in each for each in pair.one.quoted ^ pair.other.quoted)


def name(pair: Pair) -> bool:
    """A name that stands in one question only."""
    return any(word.name for word in pair.apart)


def word(pair: Pair) -> bool:
    """A word that stands in one question only."""
    return bool(pair.apart)


def nothing(pair: Pair) -> bool:
    """No word in common that says what is asked about."""
    return not any(not mine.light for mine, _ in pair.met)


def direction(pair: Pair) -> bool:
    """The same words in other roles: from here to there, or from there to here."""
    if any(_turned(mine.marker, theirs.marker) for mine, theirs in pair.met):
        return True
    order = [theirs.at for _, theirs in pair.met]
    return order != sorted(order) and not _moved(pair)


def _turned(one: str, other: str) -> bool:
    """Whether prepositions tell other roles; "to" alone may be missing, since it stands before verbs too."""
    mine, theirs = _roles(one), _roles(other)
    return mine != theirs and mine | theirs != {"to"}


def _roles(markers: str) -> set[str]:
    return {TOWARDS[marker] for marker in markers.split() if marker in TOWARDS}


def _moved(pair: Pair) -> bool:
    """Whether nothing but one part has gone behind the next, and both are in their roles still."""
    ranks = {at: rank for rank, at in enumerate(sorted(theirs.at for _, theirs in pair.met))}
    order = [ranks[theirs.at] for _, theirs in pair.met]
    begin = next(at for at, rank in enumerate(order) if at != rank)
    end = next(at for at in range(len(order), 0, -1) if order[at - 1] != at - 1)
    cut = order.index(begin)
    if order[cut:end] + order[begin:cut] != list(range(begin, end)):
        return False
    first, second = pair.met[begin:cut], pair.met[cut:end]
    if any(word.form in SOMEBODY for word, _ in (*first, *second)):
        return False
    return _equals(pair, first, second) or _told_apart(pair, first, second) or _described(pair, first, second)


Part = Sequence[tuple[Word, Word]]


def _equals(pair: Pair, first: Part, second: Part) -> bool:
    """Whether "and", "or" or "vs" stands between the two parts, in both questions."""
    gaps = (
        {*pair.one.plain[first[-1][0].at + 1 : second[0][0].at]},
        {*pair.other.plain[second[-1][1].at + 1 : first[0][1].at]},
    )
    return all(gap & JOINS and not gap & (NEGATIVE | {"then"}) for gap in gaps)


def _told_apart(pair: Pair, first: Part, second: Part) -> bool:
    """Whether a preposition tells the role of a part wherever it stands.

    Either each part takes its own along ("in the UK, …", "to Rome from Oslo"), or one is lost where the two become one
    name ("software for MATLAB", "MATLAB software").
    """
    before, behind = _markers(first), _markers(second)
    if len(before) == len(behind) == 1 and before != behind:
        return True
    lost = (before | behind) - {""}
    if len(lost) != 1 or before == behind or any(map(_roles, lost)):
        return False
    return not lost & {*pair.one.plain} & {*pair.other.plain}


def _described(pair: Pair, first: Part, second: Part) -> bool:
    """Whether a part only describes what it is beside: "the most racist country", "which country is most racist"."""
    if any(map(_roles, _markers(first) | _markers(second))):
        return False
    words = (pair.one.plain[part[0][0].at] for part in (first, second))
    return any(word in SUPERLATIVE or (word.endswith("est") and len(word) >= SHORTEST_EST) for word in words)


def _markers(part: Part) -> set[str]:
    return {part[0][0].marker, part[0][1].marker}


GUARDS: Mapping[str, Guard] = {
    each.__name__: each
    for each in (
        length, number, unit, negation, opposite, quantity, time, kind, modal, person, voice, join, quote, name, word,
        nothing, direction,
    )
}  # fmt: skip


def differs(pair: Pair) -> str:
    """The first guard that tells two questions apart; empty where none does."""
    return next((each for each, guard in GUARDS.items() if guard(pair)), "")
