"""Words and sentences with their places in an unchanged text. Pure; offsets count code points.

Matching works on folded words; each keeps where it stands, so whatever is found can be quoted exactly.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# A letter of a script that is written without spaces is a word of its own.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w\u0300-\u036f])+(?:['’](?:(?![{_UNSPACED}])\w)+)*")
_BREAK = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|cf|No|pp?)|\b[A-Z]|\A\s*\d+)\.\Z")

_STOP = """
    a about above after again against all also am an and any are aren't as at be because been before being below
    between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each few for
    from further had hadn't has hasn't have haven't having he her here hers herself him himself his how i if in into is
    isn't it it's its itself just let's may me might more most must my myself no nor not of off on once only or other
    our ours ourselves out over own same shall she should shouldn't so some such than that that's the their theirs them
    themselves then there there's these they this those through to too under until up upon us very was wasn't we were
    weren't what what's when where where's which while who who's whom whose why will with won't would wouldn't you your
    yours yourself tell explain describe please according passage passages text document documents answer question
"""
STOP_WORDS = frozenset(_STOP.split())


@dataclass(frozen=True)
class Word:
    """A word, folded, and where it stands: `text[start:end]`."""

    folded: str
    start: int
    end: int

    @property
    def informative(self) -> bool:
        """Whether it says something of what a text is about."""
        return self.folded not in STOP_WORDS


def words(text: str) -> list[Word]:
    """All words of a text in their order."""
    return [Word(fold(match.group()), *match.span()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=65_536)
def fold(word: str) -> str:
    """A word without differences of case, Unicode form, accents and apostrophes."""
    plain = unicodedata.normalize("NFKD", word.replace("’", "'")).casefold()
    return "".join(letter for letter in plain if not unicodedata.combining(letter)) or word


@lru_cache(maxsize=65_536)
def stem(folded: str) -> str:
    """A rough stem, so that plays, played and playing meet; it only ever helps to compare, never to show."""
    word = folded.removesuffix("'s")
    if any(letter.isdigit() for letter in word):
        return word
    for ending in ("ingly", "edly", "ings", "ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y"):
        left = word.removesuffix(ending)
        if left != word and len(left) >= 3 and not (ending == "y" and left[-1] in "aeiou"):
            return left
    return word


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text stand, without the white space around them; none is empty."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BREAK.finditer(text):
        if _ABBREVIATION.search(text[start : match.start()]):
            continue
        spans.append((start, match.start() + len(match.group().rstrip())))
        start = match.end()
    spans.append((start, len(text)))
    trimmed = [_trim(text, *span) for span in spans]
    return [(first, last) for first, last in trimmed if first < last]


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
