"""A question as it is compared with another: what kind of answer it wants, and the words that carry it. Pure."""

import re
from dataclasses import dataclass
from functools import lru_cache

from functions.llm_answer.text import fold
from functions.llm_answer.wording_tables import (
    BEFORE_DO,
    CONTRACTIONS,
    DO,
    EXTENTS,
    FRAMES,
    FUNCTION,
    KINDS,
    LIGHT,
    MARKERS,
    MEANS,
    NEGATIVE,
    NUMERALS,
    PHRASES,
    YES_OR_NO,
    root,
)

MOST_CHARACTERS = 500  # of a question that are read
MOST_WORDS = 40  # of a question that can be compared; a longer one tells a story, whose details words don't weigh
SHOUTED = 0.6  # share of words with a capital above which capitals tell nothing

_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:[.'][^\W\d_]+)*[+#]*|[%$€£₹<>=+*^~|@\\]|(?<!\w)-(?=\d)")
_WORD = re.compile(r"[^\W\d_]+(?:[.'][^\W\d_]+)*")
_QUOTED = re.compile(r'["“„«]+([^"“”«»]+)["”»]+')
_QUOTES = str.maketrans("’‘`", "'''")
_DOUBLED = re.compile(r"''|\"\"")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")


@dataclass(frozen=True)
class Word:
    """A word that carries meaning.

    `root` is its stem, `form` that of what means the same; `at` its place in `Question.plain`; `marker` the
    prepositions that it stands behind; `light` whether it hardly matters.
    """

    root: str
    form: str
    at: int
    name: bool = False
    light: bool = False
    marker: str = ""

    @property
    def number(self) -> bool:
        return self.form[0].isdigit()


@dataclass(frozen=True)
class Question:
    """`kind` is the type of answer that is wanted, empty where none is named; `plain` are all words after rewriting.

    `words` are those with meaning, `quoted` what stands between quotation marks; `long` whether it is too long.
    """

    kind: str
    plain: tuple[str, ...]
    words: tuple[Word, ...]
    quoted: frozenset[str]
    long: bool

    @property
    def denies(self) -> bool:
        """Two denials are none."""
        return sum(word in NEGATIVE for word in self.plain) % 2 == 1


@lru_cache(maxsize=4096)
def read(text: str) -> Question:
    """A question as it is compared."""
    cut = len(text) > MOST_CHARACTERS
    text = _DOUBLED.sub('"', text[:MOST_CHARACTERS].translate(_QUOTES))
    plain = _plain(text)
    quoted = frozenset(" ".join(_folded(each)) for each in _QUOTED.findall(text))
    words = tuple(_words(plain, _names(text)))
    return Question(_kind(plain), plain, words, quoted, cut or len(plain) > MOST_WORDS)


def _folded(text: str) -> list[str]:
    lower = _THOUSANDS.sub("", text.lower()).replace("&", " and ")
    for pattern, into in CONTRACTIONS:
        lower = pattern.sub(into, lower)
    tokens = (fold(each if each[0].isdigit() else each.replace(".", "")) for each in _TOKEN.findall(lower))
    return [NUMERALS.get(each, each) for each in tokens]


def _plain(text: str) -> tuple[str, ...]:
    line = " ".join(_folded(text))
    for pattern, into in (*PHRASES, *FRAMES):
        line = " ".join(pattern.sub(into, line).split())
    return tuple(line.split())


def _names(text: str) -> frozenset[str]:
    """Stems of the words that a capital makes names; where all words have one, it tells nothing."""
    inner = [
        each.group()
        for each in _WORD.finditer(text)
        if (before := text[: each.start()].rstrip(" \"'(“")) and before[-1] not in ".?!:"
    ]
    capital = [word for word in inner if word[0].isupper() and word != "I"]
    if len(capital) > SHOUTED * len(inner):
        return frozenset()
    return frozenset(root(fold(word.removesuffix("'s").replace(".", "").lower())) for word in capital)


def _words(plain: tuple[str, ...], names: frozenset[str]) -> list[Word]:
    found: list[Word] = []
    marker = ""
    for at, word in enumerate(plain):
        if word in MARKERS and not (word == "to" and at and plain[at - 1] in KINDS):
            marker = f"{marker} {word}".strip()
        if word in KINDS:
            marker = ""  # "to whom" tells nothing of the word behind it
        if (word in FUNCTION or word in NEGATIVE) and not _does(plain, at):
            continue
        known = root(word)
        name = known in names
        found.append(Word(known, MEANS.get(known, known), at, name, not name and word in LIGHT, marker))
        marker = ""
    if marker:  # "where is it from": what it would stand before has gone
        found.append(Word(marker, marker, len(plain) - 1))
    return found


def _does(plain: tuple[str, ...], at: int) -> bool:
    """Whether a "do" is what is done and no auxiliary: what does a broker do?"""
    return plain[at] in DO and at > 0 and (at + 1 == len(plain) or plain[at - 1] in BEFORE_DO)


def _kind(plain: tuple[str, ...]) -> str:
    if plain and plain[0] in YES_OR_NO:
        return "whether"
    for at, word in enumerate(plain):
        if word == "how" and plain[at + 1 : at + 2] and plain[at + 1] in EXTENTS:
            return f"how {plain[at + 1]}"
        if word in KINDS:
            return KINDS[word]
    return ""
