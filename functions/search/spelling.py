"""Which words of the documents a misspelt one may stand for. Pure; the words come from what the asker may read."""

from collections.abc import Mapping, Sequence

from functions.search.query import Query, Term
from functions.search.ranking import Counted, Matcher, Ranked

SAMPLE = 80  # passages that are looked through at once for words like the misspelt one
ROUNDS = 3  # of looking, each for the words that were not seen before
MOST_WORDS = 5  # that a misspelt one may stand for
MOST_EDITS = 20_000

_ALPHABETS = ("abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрстуфхцчшщъыьэюя", "αβγδεζηθικλμνξοπρστυφχψως")
_VOWELS = "aeiouy"


def one_edit(word: str) -> set[str]:
    """All words that are one letter away: one dropped, changed or added, or two neighbours swapped."""
    letters = next((letters for letters in _ALPHABETS if set(word) & set(letters)), "")
    changed = {start + letter + rest[1:] for start, rest in _cuts(word) if rest for letter in letters}
    added = {start + letter + rest for start, rest in _cuts(word) for letter in letters}
    return (_slips(word) | changed | added) - {word, ""}


def two_edits(word: str) -> set[str]:
    """Many of the words that are two letters away: one edit of any kind, and one slip that is made often."""
    found: set[str] = set()
    for slipped in sorted(_slips(word) | _vowels_changed(word)):
        if len(found) < MOST_EDITS:
            found |= one_edit(slipped)
    return found - {word, ""}


def _cuts(word: str) -> list[tuple[str, str]]:
    return [(word[:at], word[at:]) for at in range(len(word) + 1)]


def _slips(word: str) -> set[str]:
    dropped = {start + rest[1:] for start, rest in _cuts(word) if rest}
    swapped = {start + rest[1] + rest[0] + rest[2:] for start, rest in _cuts(word) if len(rest) > 1}
    return (dropped | swapped) - {word}


def _vowels_changed(word: str) -> set[str]:
    found = {start + vowel + rest[1:] for start, rest in _cuts(word) if rest[:1] in _VOWELS for vowel in _VOWELS}
    return found - {word}


def alike(term: Term, counts: Mapping[str, int]) -> tuple[Term, ...]:
    """The words, with how often each was seen, that a term may stand for: the nearest first, then the most frequent."""
    near = sorted((distance(term.form, form), -times, form) for form, times in counts.items())
    return tuple(Term(form, typed=term.form, away=far) for far, _, form in near)[:MOST_WORDS]


def taken(query: Query, weights: Mapping[Term, float], hits: Sequence[Ranked]) -> dict[str, str]:
    """For each misspelt word, the one that the best passage holding any of them was found by."""
    matcher = Matcher(weights)
    found: dict[str, str] = {}
    for hit in hits:
        left = [group for group in query.spellings if group[0].typed not in found]
        if not left:
            break
        counted = Counted.of(hit.chunk, matcher)
        for group in left:
            held = [term for term in group if matcher.numbers[term] in counted.places.keys() | counted.titled.keys()]
            if held:
                found[group[0].typed] = max(held, key=lambda term: weights[term]).form
    return found


def distance(one: str, other: str) -> int:
    """How many letters must be changed, added, dropped or swapped with the next to make one word the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        last, row = row, [i]
        for j, right in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = last
    return row[-1]
