"""Spelling: the words that a misspelt one may stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.query import Term
from functions.search.spelling import MOST_EDITS, MOST_WORDS, alike, distance, one_edit, two_edits

LETTERS = st.text(alphabet="abcdefg", min_size=1, max_size=7)


@pytest.mark.parametrize(
    ("typed", "meant", "far"),
    [("arows", "arrows", 1), ("slngs", "slings", 1), ("teh", "the", 1), ("cuntrymen", "countrymen", 1),
     ("qestoin", "question", 2), ("definately", "definitely", 1), ("same", "same", 0), ("abc", "", 3)],
)  # fmt: skip
def test_distance_counts_letters_and_swaps(typed: str, meant: str, far: int) -> None:
    assert distance(typed, meant) == far


@given(LETTERS, LETTERS)
def test_distance_is_the_same_both_ways(one: str, other: str) -> None:
    assert distance(one, other) == distance(other, one)
    assert (distance(one, other) == 0) == (one == other)


@given(LETTERS, LETTERS)
def test_one_edit_are_exactly_the_words_one_letter_away(one: str, other: str) -> None:
    assert (other in one_edit(one)) == (distance(one, other) == 1)


@given(LETTERS)
def test_two_edits_are_at_most_two_letters_away(word: str) -> None:
    """Three where a swap and a letter put between the swapped ones overlap, which `distance` counts apart."""
    assert all(1 <= distance(word, other) <= 3 for other in two_edits(word))


@pytest.mark.parametrize(
    ("typed", "meant"), [("qestoin", "question"), ("recieveing", "receiving"), ("seperatly", "separately")]
)
def test_frequent_slips_are_among_two_edits(typed: str, meant: str) -> None:
    assert meant in two_edits(typed)


def test_long_words_do_not_make_endless_lists() -> None:
    assert len(two_edits("a" + "bcdefghij" * 7)) < 2 * MOST_EDITS


def test_other_alphabets_have_their_letters_and_others_only_slips() -> None:
    assert "привет" in one_edit("приет")
    assert one_edit("東京") == {"東", "京", "京東"}


def test_nearest_first_then_the_most_frequent() -> None:
    counts = {"grows": 9, "arrows": 12, "brow": 99}
    found = alike(Term("arows"), counts)
    assert [(term.form, term.typed, term.away) for term in found] == [
        ("arrows", "arows", 1),
        ("grows", "arows", 1),
        ("brow", "arows", 2),
    ]
    assert len(alike(Term("arows"), {f"arow{letter}": 1 for letter in "abcdefgh"})) == MOST_WORDS


@pytest.mark.parametrize(("word", "typos"), [("bee", 0), ("nott", 1), ("arrows", 1), ("questin", 2)])
def test_short_words_are_meant_as_they_stand(word: str, typos: int) -> None:
    assert Term(word).typos == typos
