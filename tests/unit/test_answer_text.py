"""Words and sentences keep their places."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.text import fold, sentences, stem, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The scene is in Denmark. It is cold.", ["The scene is in Denmark.", "It is cold."]),
        ('He said "Go!" Then he went.', ['He said "Go!"', "Then he went."]),
        ("Dr. Faust met Mr. M. at 3.5 km. Then?", ["Dr. Faust met Mr. M. at 3.5 km.", "Then?"]),
        ("A title\n\nA paragraph\nof two lines", ["A title", "A paragraph\nof two lines"]),
        ("Lists:\n- one\n- two\n1. three", ["Lists:", "- one", "- two", "1. three"]),
        ("東京です。大阪です。", ["東京です。", "大阪です。"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don’t PANIC, Élan!", ["don't", "panic", "elan"]),
        ("al-Turabi 27-30%", ["al", "turabi", "27", "30"]),
        ("e\u0301lan ﬁn Straße", ["elan", "fin", "strasse"]),
        ("東京 Tower", ["東", "京", "tower"]),
        ("snake_case 'quoted'", ["snake_case", "quoted"]),
        ("…", []),
    ],
)
def test_words_are_folded(text: str, found: list[str]) -> None:
    assert [word.folded for word in words(text)] == found


@given(st.text(max_size=200))
def test_words_and_sentences_stand_where_they_say(text: str) -> None:
    last = 0
    for word in words(text):
        assert last <= word.start < word.end <= len(text)
        assert fold(text[word.start : word.end]) == word.folded
        last = word.end
    last = 0
    for start, end in sentences(text):
        assert last <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert not text[last:start].strip()
        last = end
    assert not text[last:].strip()


@given(st.text(st.characters(categories=["Ll", "Lu"]), min_size=1, max_size=12))
def test_folding_forgives_case_and_unicode_form(word: str) -> None:
    assert fold(unicodedata.normalize("NFD", word)) == fold(unicodedata.normalize("NFC", word))


@pytest.mark.parametrize(
    "family", [("play", "plays", "played", "playing"), ("study", "studies", "studied"), ("lamp", "lamps", "lamp's")]
)
def test_stems_meet(family: tuple[str, ...]) -> None:
    assert len({stem(word) for word in family}) == 1


@pytest.mark.parametrize("word", ["is", "red", "1990s", "as", "ing"])
def test_short_words_are_left_alone(word: str) -> None:
    assert stem(word) == word
