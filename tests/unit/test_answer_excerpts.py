"""Excerpts keep to their room, show whole sentences as they stand, and the ones that the question asks for first."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.counting import tokens
from functions.llm_answer.excerpts import GAP, excerpts
from functions.llm_answer.text import sentences


def passages(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


def test_what_fits_is_shown_whole() -> None:
    assert excerpts("Who?", passages("One.  Two.", "Three."), 100, tokens) == ["One.  Two.", "Three."]


def test_the_sentence_that_is_asked_for_comes_first_then_what_stands_beside_it() -> None:
    text = "It is windy. Waves are high. Anna keeps the lighthouse. She is old. Ships pass. Gulls cry."
    question, words = "Who keeps the lighthouse?", passages(text, "Other people live elsewhere.")
    assert excerpts(question, words, 10, tokens) == ["Anna keeps the lighthouse.", ""]
    assert excerpts(question, words, 22, tokens) == ["Waves are high. Anna keeps the lighthouse. She is old.", ""]


def test_a_gap_is_shown() -> None:
    text = "Anna keeps Skerry. The sea is wide and cold and deep there. Skerry is old."
    assert excerpts("Skerry?", passages(text), 14, tokens) == [f"Anna keeps Skerry.{GAP}Skerry is old."]


def test_rare_words_decide() -> None:
    text = "A keeper keeps. A keeper rests. A keeper of Skerry sings. A keeper eats."
    assert excerpts("Which keeper, Skerry?", passages(text), 10, tokens) == ["A keeper of Skerry sings."]


def test_of_a_passage_that_means_what_is_asked_more_is_shown_whatever_its_words() -> None:
    paid = "Wages reach your account on the 27th."
    texts = ["The day is long. A day may be paid for by the city.", f"{paid} Levels are published on the intranet."]
    unlike, likest = ({"text": text, "likeness": like} for text, like in zip(texts, (0.1, 0.5), strict=True))
    assert excerpts("Which day is payday?", [unlike, likest], 15, tokens) == ["", paid]
    assert excerpts("Which day is payday?", passages(*texts), 15, tokens)[1] == ""


def test_one_sentence_is_shown_however_long() -> None:
    assert excerpts("Anna?", passages("Anna " * 99 + ".", "Other words. " * 9), 5, tokens) == ["Anna " * 99 + ".", ""]


PROSE = st.lists(st.sampled_from(["Anna", "keeps", "Skerry", "it", ".", "!", "\n\n", "京", "1."]), max_size=40).map(
    " ".join
)


@given(PROSE, st.lists(PROSE, max_size=4), st.integers(1, 120))
def test_excerpts_are_whole_sentences_in_their_order_within_the_room(
    question: str, texts: list[str], room: int
) -> None:
    shown = excerpts(question, passages(*texts), room, tokens)
    assert len(shown) == len(texts)
    parts = 0
    for text, part in zip(texts, shown, strict=True):
        at = 0
        for piece in filter(None, part.split(GAP)):
            at = text.index(piece, at) + len(piece)
            parts += len(sentences(piece))
    assert shown == texts or parts <= 1 or sum(tokens(part.replace(GAP, "")) for part in shown if part) <= room + parts
