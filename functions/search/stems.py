"""English stems by Porter's algorithm of 1980, so that "flows", "flowing" and "flow" count as one word in ranking.

Source: M. F. Porter, An algorithm for suffix stripping, Program 14(3), with the two departures of the author's own
later program (`bli` → `ble`, `logi` → `log`). Words of other languages and scripts pass mostly unchanged.
"""

import re
from functools import lru_cache

_CONSONANT = "(?:[^aeiouy]|^y|(?<=[aeiouy])y)"
_VOWEL = "(?:[aeiou]|(?<![aeiouy])(?<!^)y)"
_SEQUENCE = re.compile(f"{_VOWEL}+{_CONSONANT}+")
_HAS_VOWEL = re.compile(_VOWEL)
_DOUBLE = re.compile(r"([^aeiouylsz])\1$")
_SHORT = re.compile(f"{_CONSONANT}{_VOWEL}(?![wxy]){_CONSONANT}$")

_STEP2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a folded word; words of fewer than three letters and those with digits stay as they are."""
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and _HAS_VOWEL.search(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, _STEP2)
    word = _replaced(word, _STEP3)
    word = _dropped(word)
    return _tidied(word)


def shared_prefix(word: str) -> str:
    """What all words of the same stem begin with, nearly always: the letters that the word and its stem share."""
    root = stem(word)
    length = next((at for at, (a, b) in enumerate(zip(word, root, strict=False)) if a != b), min(len(word), len(root)))
    return word[:length].rstrip("iy") if length > 3 else word[:length]


def _measure(root: str) -> int:
    return len(_SEQUENCE.findall(root))


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        root = word.removesuffix(ending)
        if root != word:
            return _mended(root) if _HAS_VOWEL.search(root) else word
    return word


def _mended(root: str) -> str:
    if root.endswith(("at", "bl", "iz")) or (_measure(root) == 1 and _SHORT.search(root)):
        return root + "e"
    return root[:-1] if _DOUBLE.search(root) else root


def _longest(word: str, endings: "dict[str, str] | tuple[str, ...]") -> str:
    return max((ending for ending in endings if word.endswith(ending)), key=len, default="")


def _replaced(word: str, endings: dict[str, str]) -> str:
    ending = _longest(word, endings)
    root = word[: len(word) - len(ending)]
    return root + endings[ending] if ending and _measure(root) > 0 else word


def _dropped(word: str) -> str:
    ending = _longest(word, _STEP4)
    root = word[: len(word) - len(ending)]
    if not ending or _measure(root) < 2 or (ending == "ion" and not root.endswith(("s", "t"))):
        return word
    return root


def _tidied(word: str) -> str:
    if word.endswith("e"):
        root = word[:-1]
        if _measure(root) > 1 or (_measure(root) == 1 and not _SHORT.search(root)):
            word = root
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
