"""Words as the index holds them and as queries look for them: one tokeniser for both sides, so that they always agree.

Typesense's own tokeniser joins what a dash or an apostrophe parts ("mind—this"), keeps the case of letters that are
not Latin and can't part writing without spaces. So chunks are indexed by these words, and `text` is only stored.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

LONGEST = 64  # characters of a word that count; what is longer is a key or an encoding and not read by anybody

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += "\U00020000-\U0003ffff"  # Thai, Lao, Burmese, Khmer, kana, Han: each character is a word
_MARK = "\u0300-\u036f\u200c\u200d"  # combining accents and joiners stand inside a word
_WORD = re.compile(
    f"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\\W_][{_MARK}]*)+(?:['’](?:(?![{_UNSPACED}])[^\\W_][{_MARK}]*)+)*"
)
_APOSTROPHE = re.compile("['’]")
_LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text: `text[start:end]` in code points, and the folded form by which it is compared."""

    start: int
    end: int
    form: str


def words(text: str) -> list[Word]:
    """The words of a text in order; those that fold to nothing are left out."""
    return [Word(at.start(), at.end(), form) for at in _WORD.finditer(text) if (form := fold(at.group()))]


def forms(text: str) -> list[str]:
    """The folded forms alone."""
    return [form for word in _WORD.findall(text) if (form := fold(word))]


def searchable(text: str) -> str:
    """The text's folded forms in order, one space between them."""
    return " ".join(forms(text))


def indexed(text: str) -> str:
    """The text as Typesense indexes it: each folded form once.

    Typesense 0.24 takes a word that a document holds twice away from another document when the first is deleted.
    """
    return " ".join(dict.fromkeys(forms(text)))


def indexed_pairs(*texts: str) -> str:
    """The neighbours in the texts, each pair once: by them phrases are found, though words are indexed once."""
    return " ".join(dict.fromkeys(pair for text in texts for pair in pairs(forms(text))))


def pairs(phrase: Sequence[str]) -> list[str]:
    """Names of the neighbours in a phrase of folded forms, as the index holds them."""
    return [_pair(one, other) for one, other in pairwise(phrase)]


@lru_cache(maxsize=65536)
def _pair(one: str, other: str) -> str:
    return hashlib.blake2b(f"{one} {other}".encode(), digest_size=5).hexdigest()


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """Without case, accents, compatibility variants and the possessive: "Hamlet’s" → "hamlet", "Ｃafé" → "cafe"."""
    if word.isascii():
        folded = word.lower()
    else:
        parted = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).casefold())
        folded = "".join(char for char in parted if char.isalnum() or char in "'’").translate(_LIGATURES)
    if folded.endswith(("'s", "’s")):
        folded = folded[:-2]
    return _APOSTROPHE.sub("", folded)[:LONGEST]
