"""When there is nothing to answer from."""

from typing import Any

import pytest

from functions.llm_answer.abstention import NO_PASSAGES, NOT_TOLD, UNRELATED, after, before

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
