"""Highlights: exact ranges of the words that were meant."""

from hypothesis import given
from hypothesis import strategies as st

from functions.search.highlights import highlights
from functions.search.query import Query, Term, parse
from knts.words import forms


def marked(text: str, typed: str) -> list[str]:
    return [text[start:end] for start, end in highlights(text, parse(typed))]


def test_words_are_marked_in_all_their_forms_and_spellings_of_case() -> None:
    assert marked("The Slings, and “arrows” of an ARROW-maker", "sling arrow") == ["Slings", "arrows", "ARROW"]


def test_the_word_still_typed_marks_what_it_begins() -> None:
    assert marked("outrageous fortune", "outrag") == ["outrageous"]
    assert marked("outrageous fortune", "outra ") == []


def test_stop_words_of_a_question_are_not_marked() -> None:
    assert marked("the king of Denmark", "who is the king?") == ["king"]


def test_a_phrase_is_marked_as_one_across_punctuation() -> None:
    assert marked("To be, or not to be: that is", '"to be or not"') == ["To be, or not", "to", "be"]


def test_a_misspelt_word_marks_what_it_stands_for() -> None:
    query = Query(("arows",), spellings=((Term("arrows", typed="arows", away=1),),))
    assert highlights("and arrows", query) == [[4, 10]]


def test_ranges_count_code_points() -> None:
    text = "😀 Zoë’s naïve 東京"
    assert marked(text, "naive zoe") == ["Zoë’s", "naïve"]
    assert marked(text, "東") == ["東"]


@given(st.text(max_size=120), st.text(max_size=30))
def test_ranges_are_ordered_apart_and_inside_the_text(text: str, typed: str) -> None:
    found = highlights(text, parse(typed))
    borders = [border for place in found for border in place]
    assert borders == sorted(borders)
    assert all(0 <= start < end <= len(text) for start, end in found)


@given(st.lists(st.sampled_from(["alpha", "Beta", "gamma", "—", "\n"]), max_size=12))
def test_every_word_that_was_typed_is_marked_and_nothing_else(words: list[str]) -> None:
    text = " ".join(words)
    assert [forms(word) for word in marked(text, "beta gamma ")] == [
        [word.lower()] for word in words if word in ("Beta", "gamma")
    ]
