"""When there is nothing to answer from."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.abstention import (
    DENIED,
    LEAST_BY_WORDS,
    NO_PASSAGES,
    NOT_TOLD,
    UNRELATED,
    after,
    before,
    signals,
)

PASSAGES = [
    {"document_id": "hamlet", "title": "Hamlet", "section": "Act I", "text": "The scene is in Denmark.", "url": "u"},
    {"document_id": "macbeth", "title": "Macbeth", "text": "A thane of Scotland."},
    {"document_id": "hamlet", "title": "Hamlet", "text": "The ghost walks at midnight."},
]


@pytest.mark.parametrize(
    ("question", "passages", "reason"),
    [
        ("Where is the scene?", [], NO_PASSAGES),
        ("Who invented penicillin?", PASSAGES, UNRELATED),
        ("Where is the scene?", PASSAGES, None),
        ("Who are the thanes?", PASSAGES, None),  # by its stem
        ("Where does Hamelt live?", PASSAGES, None),  # search forgives typos
        ("What happens in act i?", PASSAGES, None),  # by a section's title
        ("What is it about?", PASSAGES, None),  # nothing to judge by
        ("DÄNEMARK?", PASSAGES, None),
        ("Wer erfand das Penizillin?", PASSAGES, UNRELATED),
        ("Where is the moon landing described?", PASSAGES, UNRELATED),
        ("Where was Captain Ahab born?", PASSAGES, UNRELATED),
        ("Where does Hamlet take place?", PASSAGES, None),  # in other words, but by name
        ("When doesn't the ghost walk?", PASSAGES, DENIED),
        ("Why doesn't the ghost walk at noon?", PASSAGES, None),  # a cause, and not what is not so
        ("What should I do when the ghost does not walk?", PASSAGES, None),
    ],
)
def test_before_the_first_word(question: str, passages: Any, reason: str | None) -> None:
    assert before(question, passages) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The documents do not tell.", NOT_TOLD),
        (" the documents do not tell who did it", NOT_TOLD),
        ("The documents tell it.", None),
        ("It is not told.", None),
        ("", None),
        ("The answer is: The documents do not tell.", NOT_TOLD),
        ("It was so. Who did it, the documents do not tell.", NOT_TOLD),
        ("It was in 1602, though the documents do not tell who did it.", None),
    ],
)
def test_after_the_last(answer: str, reason: str | None) -> None:
    assert after(answer) == reason


def test_what_the_best_place_has_of_a_question() -> None:
    found = signals("Where in Denmark is the scene of Hamlet?", PASSAGES)
    assert found is not None
    assert found.coverage > 0.8
    assert (found.names, found.denied) == (1.0, False)
    other = signals("Where in Utopia is the scene of Faust?", PASSAGES)
    assert other is not None
    assert (other.names, other.trust < found.trust) == (0.0, True)


def liked(likeness: float, by: str = "all-minilm:22m") -> list[dict[str, Any]]:
    return [PASSAGES[1], {**PASSAGES[0], "likeness": likeness, "embedded_by": by}]


@pytest.mark.parametrize(
    ("question", "likeness", "reason"),
    [
        ("What country is the tragedy set in?", 0.5, None),  # not a word of it, and the meaning
        ("Who won the football cup?", 0.1, UNRELATED),
        ("Where was the moon scene filmed?", 0.1, UNRELATED),  # a word by chance
        ("Where in Denmark is the scene of Hamlet?", 0.15, None),  # all its words
        ("When doesn't the ghost walk?", 0.9, DENIED),
    ],
)
def test_meaning_counts_beside_words_where_search_knows_it(question: str, likeness: float, reason: str | None) -> None:
    assert before(question, liked(likeness)) == reason


def test_of_several_passages_the_likest_counts() -> None:
    assert before("What country is the tragedy set in?", [*liked(0.1), *liked(0.5), *liked(0.2)]) is None


def test_while_passages_are_being_embedded_those_without_are_judged_by_words() -> None:
    asked, unlike = "Where is the scene?", {**PASSAGES[1], "likeness": 0.05, "embedded_by": "all-minilm:22m"}
    assert before(asked, [unlike, PASSAGES[0]]) is None
    far = {**PASSAGES[0], "embedded_by": "all-minilm:22m"}  # it has an embedding, and others are nearer
    assert before(asked, [unlike, {**far, "text": "The scene of it."}]) == UNRELATED
    assert before(asked, [far]) is None  # nothing is known but its words


def test_a_likeness_by_a_model_whose_scale_is_not_known_says_nothing() -> None:
    asked = "What country is the tragedy set in?"
    assert before(asked, liked(0.9, by="another")) == before(asked, PASSAGES) == UNRELATED
    assert before("Where is the scene?", liked(-1.0, by="another")) is None


@pytest.mark.parametrize(
    ("question", "reason"), [("午餐几点供应？", None), ("谁发明了电话？", UNRELATED), ("Кто это?", UNRELATED)]
)
def test_in_other_letters_than_latin_ones_words_alone_decide(question: str, reason: str | None) -> None:
    lunch = {**PASSAGES[0], "text": "午餐供应时间为十一点半到两点。", "likeness": 0.6, "embedded_by": "all-minilm:22m"}
    assert before(question, [lunch]) == reason


def test_what_a_passage_denies_can_be_asked_for() -> None:
    denying = [{**PASSAGES[0], "text": "The ghost never walks at noon."}]
    assert before("When doesn't the ghost walk?", denying) is None
    excepting = [{**PASSAGES[0], "text": "The ghost walks at all hours except noon."}]
    assert before("When doesn't the ghost walk?", excepting) is None


WORDS = st.lists(
    st.sampled_from(["ghost", "Hamlet", "walks", "not", "the", "7", "Utopia", "moon", "é", "."]), max_size=12
)


@given(WORDS, st.lists(WORDS, max_size=3))
def test_signals_are_shares_and_a_question_is_covered_by_itself(asked: list[str], texts: list[list[str]]) -> None:
    question = " ".join(asked)
    passages = [{**PASSAGES[1], "title": "", "text": " ".join(each)} for each in texts]
    found = signals(question, passages)
    if found is not None:
        assert 0 <= found.coverage <= 1 + 1e-9
        assert found.names is None or 0 <= found.names <= 1
        whole = signals(question.replace(".", ""), [*passages, {**PASSAGES[1], "text": question.replace(".", "")}])
        assert whole is not None
        assert whole.coverage == pytest.approx(1)
        assert whole.trust >= LEAST_BY_WORDS
