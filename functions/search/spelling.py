"""Which word of the documents a misspelt one may have meant. Pure; the words come from what the asker may read."""

from collections import Counter
from collections.abc import Iterable

from functions.search.query import Term


def meant(term: Term, texts: Iterable[str]) -> str | None:
    """The likeliest word in the texts (folded forms parted by spaces): the nearest, of those the most frequent.

    A word that is still open is compared with the beginnings of words, and the whole word is given back.
    """
    allowed = term.misspelt()
    if allowed is None:
        return None
    counts = Counter(form for text in texts for form in text.split())
    near = [
        (away, -times, form) for form, times in counts.items() if 0 < (away := _away(term, form, allowed.typos)) < 9
    ]
    return min(near)[2] if near else None


def _away(term: Term, form: str, most: int) -> int:
    if not term.open or len(form) <= len(term.form):
        return distance(term.form, form, most)
    sizes = range(len(term.form) - 1, min(len(form), len(term.form) + most) + 1)
    return min(distance(term.form, form[:size], most) for size in sizes)


def distance(one: str, other: str, most: int) -> int:
    """How many letters must be changed, added, dropped or swapped with the next; 9 for more than `most`."""
    if abs(len(one) - len(other)) > most:
        return 9
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        last, row = row, [i]
        for j, right in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most and min(last) > most:
            return 9
        before = last
    return row[-1] if row[-1] <= most else 9
