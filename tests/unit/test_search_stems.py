"""Stems: Porter's own examples, and what a prefix search can rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.stems import shared_prefix, stem

EXAMPLES = {
    "caresses": "caress", "ponies": "poni", "ties": "ti", "cats": "cat", "feed": "feed", "agreed": "agre",
    "plastered": "plaster", "bled": "bled", "motoring": "motor", "sing": "sing", "conflated": "conflat",
    "troubled": "troubl", "sized": "size", "hopping": "hop", "falling": "fall", "hissing": "hiss", "filing": "file",
    "happy": "happi", "sky": "sky", "relational": "relat", "conditional": "condit", "rational": "ration",
    "digitizer": "digit", "vietnamization": "vietnam", "operator": "oper", "decisiveness": "decis",
    "hopefulness": "hope", "formality": "formal", "sensitivity": "sensit", "triplicate": "triplic",
    "formative": "form", "electrical": "electr", "goodness": "good", "revival": "reviv", "inference": "infer",
    "adjustable": "adjust", "replacement": "replac", "adoption": "adopt", "communism": "commun",
    "homologous": "homolog", "effective": "effect", "rate": "rate", "cease": "ceas", "control": "control",
    "roll": "roll", "generalizations": "gener", "oscillators": "oscil",
}  # fmt: skip


@pytest.mark.parametrize(("word", "root"), EXAMPLES.items())
def test_stems_are_porters(word: str, root: str) -> None:
    assert stem(word) == root


@pytest.mark.parametrize("word", ["mach2", "über", "привет", "東", "as", "i"])
def test_what_is_no_english_word_stays(word: str) -> None:
    assert stem(word) == word


@pytest.mark.parametrize(
    "family",
    [
        ("study", "studies", "studied", "studying"),
        ("flow", "flows", "flowing", "flowed"),
        ("theory", "theories"),
        ("wing", "wings", "winged"),
        ("happy", "happiness"),
    ],
)
def test_a_family_of_words_shares_its_stem_and_prefix(family: tuple[str, ...]) -> None:
    assert len({stem(word) for word in family}) == 1
    assert all(word.startswith(shared_prefix(family[0])) for word in family)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_any_word_begins_with_its_prefix(word: str) -> None:
    assert shared_prefix(word)
    assert word.startswith(shared_prefix(word))
