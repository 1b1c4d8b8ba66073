"""Words: one tokeniser for the index and for queries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts import words

CASES = [
    ("To be, or not to be", ["to", "be", "or", "not", "to", "be"]),
    ("mind—this… high-speed a_b", ["mind", "this", "high", "speed", "a", "b"]),
    ("Hamlet’s players' don't O'er rock'n'roll", ["hamlet", "players", "dont", "oer", "rocknroll"]),
    ("C++ e-mail@x.org 3.5", ["c", "e", "mail", "x", "org", "3", "5"]),
    ("Café cafe\u0301 naïve Straße STRASSE", ["cafe", "cafe", "naive", "strasse", "strasse"]),
    ("ﬁre Ｗｉｄｅ x² Œuvre Łódź İstanbul", ["fire", "wide", "x2", "oeuvre", "lodz", "istanbul"]),
    ("Привет МИР", ["привет", "мир"]),
    ("東京都 ひと", ["東", "京", "都", "ひ", "と"]),
    ("!!! — …", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "forms"), CASES)
def test_words_fold_case_accents_and_possessives(text: str, forms: list[str]) -> None:
    assert words.forms(text) == forms
    assert words.searchable(text) == " ".join(forms)


def test_a_word_knows_its_place_in_the_unfolded_text() -> None:
    text = "“Naïve” Hamlet’s 東"
    assert [text[word.start : word.end] for word in words.words(text)] == ["Naïve", "Hamlet’s", "東"]


def test_very_long_words_count_by_their_beginning() -> None:
    assert words.forms("x" * 1000) == ["x" * words.LONGEST]


@given(st.text())
def test_offsets_are_ordered_and_inside_the_text(text: str) -> None:
    found = words.words(text)
    borders = [place for word in found for place in (word.start, word.end)]
    assert borders == sorted(borders)
    assert all(word.start < word.end <= len(text) for word in found)
    assert [words.fold(text[word.start : word.end]) for word in found] == words.forms(text)


@given(st.text())
def test_words_of_what_is_searchable_are_the_same_words(text: str) -> None:
    assert words.forms(words.searchable(text)) == words.forms(text)


@given(st.lists(st.sampled_from(["to", "be", "or", "not"]), max_size=12))
def test_what_is_indexed_holds_each_word_and_each_pair_of_neighbours_once(typed: list[str]) -> None:
    text = " ".join(typed)
    assert sorted(words.indexed(text).split()) == sorted(set(typed))
    held = words.indexed_pairs(text).split()
    assert len(held) == len(set(held))
    assert set(held) == set(words.pairs(typed))


def test_neighbours_in_different_texts_are_no_pair() -> None:
    assert set(words.indexed_pairs("to be", "or not").split()) == {
        *words.pairs(["to", "be"]),
        *words.pairs(["or", "not"]),
    }


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_case_makes_no_difference(text: str) -> None:
    assert words.forms(text.upper()) == words.forms(text)
