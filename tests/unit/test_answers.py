"""One object, composed from what an ask and its generation left behind."""

from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from knts import answers, citations
from knts.schemas import SCHEMAS

ASK = {
    "id": "0" * 32,
    "question": "Where?",
    "created": "1000",
    "search_ms": "2.5",
    "at:passages": "1010",
    "cache": "shared",
}
FINAL: dict[str, Any] = {
    "status": "completed",
    "answer": "Here.",
    "model": "m",
    "citations": [],
    "passages": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    "stale": True,
    "first_token_at": 1100,
    "finished_at": 1200.5,
}


CONTRACT = yaml.safe_load((SCHEMAS / "openapi.yaml").read_text(encoding="utf-8"))
ANSWER = jsonschema_rs.Draft202012Validator({**CONTRACT, "$ref": "#/components/schemas/Answer"})


def test_a_finished_answer() -> None:
    assert answers.compose(ASK, FINAL) == {
        "id": "0" * 32,
        "question": "Where?",
        "status": "completed",
        "answer": "Here.",
        "model": "m",
        "citations": [],
        "sentences": [],
        "passages": [],
        "cache": "shared",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "timings_ms": {"queued": 7.5, "search": 2.5, "first_token": 100, "total": 200.5},
        "stale": True,
        "digest": citations.seal({**FINAL, "question": "Where?", "sentences": []}),
    }


@pytest.mark.parametrize(
    ("ask", "final", "timings"),
    [
        ({}, {}, (None, None, None, None)),
        ({"created": "5"}, {"finished_at": 9}, (None, None, None, 4)),
        ({"created": "50"}, {"first_token_at": 9, "finished_at": 60}, (None, None, 0, 10)),
        ({"created": "5", "at:passages": "9"}, {}, (4, None, None, None)),
        ({"created": "x"}, {"finished_at": "y"}, (None, None, None, None)),
    ],
)
def test_times_that_are_not_known_are_none_and_none_is_negative(
    ask: dict[str, str], final: dict[str, Any], timings: tuple[float | None, ...]
) -> None:
    assert tuple(answers.compose({"id": "i", **ask}, final)["timings_ms"].values()) == timings


finals = st.fixed_dictionaries(
    {"status": st.sampled_from(["completed", "abstained", "failed", "cancelled"])},
    optional={
        "answer": st.text(),
        "model": st.text(),
        "usage": st.just({"prompt_tokens": 0, "completion_tokens": 0}) | st.none(),
        "stale": st.booleans(),
        "reason": st.text(),
        "first_token_at": st.integers(0, 2**45),
        "finished_at": st.integers(0, 2**45),
        "internal": st.text(),
    },
)
asks = st.fixed_dictionaries(
    {"id": st.just("a" * 32), "question": st.text()},
    optional={"created": st.integers(0, 2**45).map(str), "search_ms": st.floats(0, 1e6).map(str), "tenant": st.text()},
)


@given(asks, finals)
def test_whatever_is_left_behind_the_answer_keeps_its_contract(ask: dict[str, str], final: dict[str, Any]) -> None:
    composed = answers.compose(ask, final)
    ANSWER.validate(composed)
    assert "internal" not in composed
    assert "tenant" not in composed


def test_a_failure_tells_its_reason_and_problem() -> None:
    composed = answers.compose(ASK, answers.failure("too late", {"status": 504}, 1300))
    assert (composed["status"], composed["reason"], composed["problem"]) == ("failed", "too late", {"status": 504})
    assert composed["timings_ms"]["total"] == 300


def test_a_remembered_answer_is_told_as_if_it_had_been_written_just_now() -> None:
    data = {**FINAL, "key": "k", "evidence": [], "citations": [{"quote": "a"}, {"quote": "b"}], "reason": ""}
    final = answers.from_completed(data, 5000)
    assert "key" not in final
    assert "reason" not in final
    assert (final["first_token_at"], final["finished_at"]) == (5000, 5000)
    assert [name for name, _ in answers.frames_of(final)] == ["passages", "delta", "citation", "citation"]
    assert "".join(frame["text"] for name, frame in answers.frames_of(final) if name == "delta") == final["answer"]


def test_an_answer_that_was_written_for_another_wording_says_for_which() -> None:
    source = {"question": "Whereabouts?", "key": "a" * 64, "evidence": []}
    final = answers.from_completed({**FINAL, "answered_from": source}, 5000)
    composed = answers.compose(ASK | {"cache": "semantic"}, final)
    ANSWER.validate(composed)
    assert (composed["question"], composed["answered_question"]) == ("Where?", "Whereabouts?")
    assert citations.seal(composed) == composed["digest"]
    assert citations.seal({**composed, "answered_question": "Who?"}) != composed["digest"]


def test_a_remembered_abstention_has_no_delta() -> None:
    final = answers.from_completed({"status": "abstained", "answer": "", "reason": "not in the documents"}, 1)
    assert [name for name, _ in answers.frames_of(final)] == ["passages"]
    assert final["reason"] == "not in the documents"
