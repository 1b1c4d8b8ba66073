"""What may still be shown of a stored answer, by what became of its documents."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingress.standing import REMOVED, Standing, quotes, standing
from knts.channel import Frame


@dataclass(frozen=True)
class Known:
    version: int
    removed: int = 0


def quote(document_id: str, version: int) -> dict[str, Any]:
    return {"document_id": document_id, "version": version, "quote": "word"}


FINAL = {
    "status": "completed",
    "answer": "a word",
    "model": "m",
    "citations": [quote("a", 1)],
    "passages": [quote("a", 1), quote("b", 2)],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    "stale": False,
    "finished_at": 5,
}


def test_documents_are_found_in_the_final_object_and_in_frames() -> None:
    frames = [
        Frame("1-0", "queued", {"id": "x"}),
        Frame("2-0", "passages", {"passages": [quote("c", 3)]}),
        Frame("3-0", "delta", {"text": "d"}),
        Frame("4-0", "citation", quote("a", 4)),
    ]
    assert quotes(FINAL, frames) == {"a": {1, 4}, "b": {2}, "c": {3}}
    assert quotes({"status": "cancelled"}) == {}
    reworded = {**FINAL, "answered_from": {"evidence": [["b", 3, 0], ["d", 1, 7]]}}
    assert quotes(reworded) == {"a": {1}, "b": {2, 3}, "d": {1}}


@pytest.mark.parametrize(
    ("readable", "expected"),
    [
        ({"a": Known(1), "b": Known(2)}, Standing()),
        ({"a": Known(2), "b": Known(2)}, Standing(changed=True)),
        ({"a": Known(1), "b": Known(7)}, Standing(changed=True)),
        ({"a": Known(1)}, Standing(removed=True)),
        ({}, Standing(removed=True)),
        ({"a": Known(3, removed=2), "b": Known(2)}, Standing(removed=True, changed=True)),
        ({"a": Known(1), "b": Known(2, removed=1)}, Standing()),
    ],
)
def test_how_an_answer_stands(readable: dict[str, Known], expected: Standing) -> None:
    assert standing(quotes(FINAL), readable) == expected


def test_an_answer_from_no_document_stands_whatever_happens() -> None:
    assert standing({}, {}) == Standing()


@pytest.mark.parametrize("changed", [False, True])
def test_of_a_removed_document_no_word_is_left(changed: bool) -> None:
    shown = Standing(removed=True, changed=changed).shown(FINAL)
    assert (shown["status"], shown["reason"], shown["problem"]["status"]) == ("failed", REMOVED, 410)
    assert (shown["model"], shown["usage"], shown["finished_at"]) == ("m", FINAL["usage"], 5)
    assert "word" not in str(shown)


def test_a_changed_answer_is_stale_and_otherwise_as_it_was() -> None:
    assert Standing(changed=True).shown(FINAL) == {**FINAL, "stale": True}
    assert Standing().shown(FINAL) == FINAL


VERSIONS = st.integers(1, 5)


@given(st.dictionaries(st.sampled_from("abc"), st.frozensets(VERSIONS, min_size=1)), st.data())
def test_what_was_quoted_before_a_removal_never_comes_back(
    quoted: dict[str, frozenset[int]], data: st.DataObject
) -> None:
    removed = {name: data.draw(st.integers(0, 6)) for name in quoted}
    readable = {name: Known(removed[name] + data.draw(VERSIONS), removed[name]) for name in quoted}
    withheld = any(version < removed[name] for name, versions in quoted.items() for version in versions)
    assert standing(quoted, readable).removed == withheld
