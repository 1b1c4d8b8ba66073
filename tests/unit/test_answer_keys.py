"""What an answer depends on changes its key, and nothing else does."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.answer_keys import (
    PROMPT_VERSION,
    answer_key,
    evidence_of,
    family_key,
    fast_key,
    normalise_question,
    reworded_key,
)
from knts.embeddings import Model

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
EVIDENCE = st.lists(st.tuples(TEXT, st.integers(1, 2**53 - 1), st.integers(0, 9)), max_size=4)
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "tenant": TEXT,
    "groups": st.lists(TEXT, max_size=3),
    "model_digest": TEXT,
    "options": st.dictionaries(TEXT, st.integers(0, 99), max_size=3),
    "prompt_version": TEXT,
    "question": TEXT,
    "evidence": EVIDENCE,
}


def meaning(parts: dict[str, Any]) -> dict[str, Any]:
    return parts | {"groups": set(parts["groups"]), "question": normalise_question(parts["question"])}


@given(st.fixed_dictionaries(PARTS), st.fixed_dictionaries(PARTS), st.sets(st.sampled_from(sorted(PARTS))))
def test_a_key_is_the_same_exactly_when_every_part_is(
    parts: dict[str, Any], other: dict[str, Any], changed: set[str]
) -> None:
    mixed = {name: (other if name in changed else parts)[name] for name in PARTS}
    assert (answer_key(**mixed) == answer_key(**parts)) == (meaning(mixed) == meaning(parts))


FAMILY = {name: each for name, each in PARTS.items() if name not in ("question", "evidence")} | {
    "embedder": st.builds(Model, TEXT, st.integers(1, 4))
}


@given(st.fixed_dictionaries(FAMILY), st.fixed_dictionaries(FAMILY), st.sets(st.sampled_from(sorted(FAMILY))))
def test_a_family_is_the_same_exactly_when_all_but_question_and_evidence_is(
    parts: dict[str, Any], other: dict[str, Any], changed: set[str]
) -> None:
    mixed = {name: (other if name in changed else parts)[name] for name in FAMILY}
    same = mixed | {"groups": set(mixed["groups"])} == parts | {"groups": set(parts["groups"])}
    assert (family_key(**mixed) == family_key(**parts)) == same


def test_what_was_kept_for_another_wording_has_a_key_of_its_own() -> None:
    found, more = [("d", 1, 0)], [("d", 1, 0), ("e", 1, 0)]
    keys = {reworded_key("a", found, "k"), reworded_key("b", found, "k"), reworded_key("a", more, "k")}
    assert len({*keys, reworded_key("a", found, "l"), "a", "k"}) == 6


@given(EVIDENCE.filter(lambda evidence: len(set(evidence)) > 1))
def test_the_order_of_the_evidence_matters(evidence: list[tuple[str, int, int]]) -> None:
    rest = ("local", ["staff"], "digest", {}, "1", "why?")
    backwards = evidence[::-1]
    assert (answer_key(*rest, evidence) == answer_key(*rest, backwards)) == (evidence == backwards)


@given(TEXT, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from(["", "?", "!", " ?", "…", "?\n", "。"]))
def test_a_question_is_the_same_in_any_unicode_form_spacing_and_end(text: str, form: Any, end: str) -> None:
    other = f"  {unicodedata.normalize(form, text)}\t{end}"
    if normalise_question(text).strip(" .?!…。？！"):
        assert normalise_question(other) == normalise_question(text)


@given(TEXT)
def test_normalising_again_changes_nothing_and_leaves_something(text: str) -> None:
    once = normalise_question(text)
    assert normalise_question(once) == once
    assert once or not text.strip()


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("Where does Hamlet take place?", "where does HAMLET take  place"),
        ("Straße", "STRASSE?"),
        ("Über Ångström", "u\u0308ber A\u030angstro\u0308m."),
        ("ﬁne Ｈａｍｌｅｔ", "FINE hamlet"),
    ],
)
def test_questions_that_are_the_same(question: str, other: str) -> None:
    assert normalise_question(question) == normalise_question(other)


@pytest.mark.parametrize(("question", "other"), [("v1.2", "v12"), ("is it?", "it is?"), ("?", "!"), ("no", "not")])
def test_questions_that_are_not(question: str, other: str) -> None:
    assert normalise_question(question) != normalise_question(other)


REQUEST = {"question": "Where?", "groups": ["staff"], "cache": "use", "filters": {"play": "Hamlet"}, "max_passages": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"question": "Who?"},
        {"filters": {}},
        {"max_passages": 3},
        {"model": "big"},
        {"options": {"seed": 1}},
        {"conversation": [{"question": "q"}]},
        {"format": {"type": "object"}},
    ],
)
def test_what_a_request_asks_for_changes_its_fast_key(change: dict[str, Any]) -> None:
    assert fast_key("t", "local", ["staff"], REQUEST | change, "m") != fast_key("t", "local", ["staff"], REQUEST, "m")


def test_token_tenant_and_groups_change_it_but_spelling_and_cache_mode_do_not() -> None:
    key = fast_key("t", "local", ["staff", "all"], REQUEST, "m")
    others = [("u", "local", ["staff", "all"]), ("t", "x", ["staff", "all"]), ("t", "local", ["staff"])]
    assert len({key, *(fast_key(*other, REQUEST, "m") for other in others)}) == 4
    spelt = REQUEST | {"question": "WHERE", "cache": "refresh"}
    assert fast_key("t", "local", ["all", "staff", "all"], spelt, "m") == key


def test_another_model_or_prompt_has_another_fast_key() -> None:
    key = fast_key("t", "local", [], REQUEST, "m")
    assert fast_key("t", "local", [], REQUEST, "n") != key
    assert fast_key("t", "local", [], REQUEST, "m", PROMPT_VERSION + "x") != key
    assert fast_key("t", "local", [], REQUEST | {"model": "m"}, "n") == key  # by its name or by default


def test_evidence_is_named_in_the_order_of_the_passages() -> None:
    passages = [
        {"document_id": "b", "version": 2, "chunk": 1, "text": "x"},
        {"document_id": "a", "version": 1, "chunk": 0},
    ]
    assert evidence_of(passages) == [("b", 2, 1), ("a", 1, 0)]


def test_a_passage_joined_of_several_chunks_stands_for_each_of_them() -> None:
    passages = [{"document_id": "b", "version": 2, "chunk": 3, "last_chunk": 5}]
    assert evidence_of(passages) == [("b", 2, 3), ("b", 2, 4), ("b", 2, 5)]
