"""Which words of a passage a query meant: ranges of code points from the passage's start. Pure.

Worked out from the passage's own text and not from the engine's markers: they are exact by construction, and which
spelling the engine tried first can't show in them.
"""

from collections.abc import Sequence
from functools import lru_cache

from functions.search.query import Query, places
from functions.search.ranking import Matcher
from knts.words import Word, words

MOST = 200
_words = lru_cache(512)(words)  # while somebody types, the same passages are shown again and again


def highlights(text: str, query: Query) -> list[list[int]]:
    """Ordered `[start, end]` ranges that do not overlap: each word meant, each quoted phrase as a whole."""
    found = _words(text)
    matcher = Matcher(query.terms)
    single = [(word.start, word.end) for word in found if matcher.terms_of(word.form)]
    whole = [place for phrase in query.phrases for place in _phrase(found, phrase)]
    return [list(place) for place in _merged(single + whole)][:MOST]


def _phrase(found: Sequence[Word], phrase: tuple[str, ...]) -> list[tuple[int, int]]:
    forms = [word.form for word in found]
    return [(found[at].start, found[at + len(phrase) - 1].end) for at in places(phrase, forms)]


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
