"""What the verdict of a model that reads first is worth."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.reader import SYSTEM, NoVerdict, found, messages, stands

PASSAGES: list[dict[str, Any]] = [
    {"text": "Wages reach your account on the 27th. There is no bonus."},
    {"text": "The meeting point is the lawn."},
]


def verdict(quote: str, answerable: bool = True) -> str:
    return json.dumps({"quote": quote, "answerable": answerable})


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        (verdict("on the 27th"), True),
        (verdict("“On the 27th.”"), True),  # case and marks aside
        (verdict("The meeting point is the lawn."), True),
        (verdict("on the 28th"), False),  # made up
        (verdict("the 27t"), False),  # half a word
        (verdict("bonus. The meeting point"), False),  # of two passages
        (verdict("reach account"), False),  # something left out
        (verdict(""), False),
        (verdict("…"), False),
        (verdict("There is no"), False),  # says nothing
        (verdict("on the 27th", answerable=False), False),
    ],
)
def test_a_verdict_holds_with_a_quote_that_stands_in_a_passage_word_for_word(written: str, holds: bool) -> None:
    assert found(written, PASSAGES) is holds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yes",
        "[]",
        "null",
        '{"quote": "on the 27th"}',
        '{"quote": 27, "answerable": true}',
        '{"quote": "on the 27th", "answerable": "yes"}',
        '{"quote": "on the',
    ],
)
def test_what_is_no_verdict_is_told_from_one(written: str) -> None:
    with pytest.raises(NoVerdict):
        found(written, PASSAGES)


def test_the_reader_is_asked_of_what_the_model_would_be_shown() -> None:
    asked = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Passages. Question: When?"}]
    assert messages(asked) == [{"role": "system", "content": SYSTEM}, asked[1]]


WORDS = st.lists(st.sampled_from(["b", "bc", "c", "27", "é"]), min_size=1, max_size=6)


@given(WORDS, WORDS)
def test_a_quote_stands_where_its_words_do_in_a_row(quote: list[str], text: list[str]) -> None:
    there = any(text[at : at + len(quote)] == quote for at in range(len(text)))
    assert stands(" ".join(quote), ", ".join(text).upper()) is there
