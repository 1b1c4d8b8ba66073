"""Tokens are counted by kinds of characters, bounded by bytes, and as a model's own calls have taught."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.counting import CALLS, MARGIN, MODELS, MOST, Learned, at_most, measured, tokens

# Texts with the count of SmolLM2's own vocabulary.
OWN = [
    ("The library opens at eight every morning and closes at ten.", 12),
    ("def tokens(text: str) -> int:\n    return len(text)\n", 17),
    ("2026-11-24,17,4711,0815", 23),
    ("哈姆雷特是丹麦王子。", 19),
    ("図書館は毎朝八時に開きます。", 27),
    ("Библиотека открывается в восемь.", 25),
    ("Die Bücherei öffnet täglich um acht.", 18),
    ("🗼🌊🔥", 9),
]


@pytest.mark.parametrize(("text", "own"), OWN)
def test_an_estimate_is_seldom_much_too_low(text: str, own: int) -> None:
    assert own <= 1.25 * tokens(text)
    assert own <= at_most(text)


@given(st.text(max_size=60))
def test_an_estimate_is_never_more_than_there_can_be(text: str) -> None:
    assert 1 <= tokens(text) <= at_most(text) + 1
    assert measured(text, None) == at_most(text) >= measured(text, MOST) >= measured(text, 0.5)


def test_a_text_cut_in_two_has_about_as_many() -> None:
    text = "Anna keeps the light, 7 days a week. 東京 🗼 " * 9
    assert 0 <= tokens(text[:100]) + tokens(text[100:]) - tokens(text) <= 2


def test_a_factor_is_the_highest_of_the_last_calls_rounded_up() -> None:
    learned = Learned()
    assert learned.factor("d") is None
    learned.learn("d", 1000, 760)
    assert learned.factor("d") == 0.875
    learned.learn("d", 1000, 1240)
    learned.learn("e", 1000, 500)
    assert (learned.factor("d"), learned.factor("e")) == (1.25, 0.5)
    for _ in range(CALLS):
        learned.learn("d", 1000, 700)
    assert learned.factor("d") == 0.75
    assert measured("word " * 300, 0.75) == pytest.approx(500 * 0.75 * MARGIN, abs=2)


@pytest.mark.parametrize("counted", [0, 100, 5000])
def test_a_count_that_can_be_none_of_that_prompt_teaches_nothing(counted: int) -> None:
    learned = Learned()
    learned.learn("d", 1000, counted)
    assert learned.factor("d") is None


def test_the_models_that_were_called_last_are_remembered() -> None:
    learned = Learned()
    for number in range(MODELS + 1):
        learned.learn(f"d{number}", 10, 10)
        learned.learn("d0", 10, 10)
    assert learned.factor("d0") == 1.0
    assert learned.factor("d1") is None
