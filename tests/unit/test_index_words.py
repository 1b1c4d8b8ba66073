"""The words of the index: digests that need no escaping, field names, and the text put together again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.index import (
    document_digest,
    filter_by,
    filter_term,
    group_digest,
    meta_field,
    meta_key,
    meta_value,
    scope_filter,
    tenant_digest,
    whole_text,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(TEXT, TEXT)
def test_digests_are_plain_words_and_kept_apart(one: str, other: str) -> None:
    digests = [tenant_digest(one), group_digest(one), document_digest(one, other), filter_term(one, other)]
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
    assert len(set(digests)) == 4
    assert (group_digest(one) == group_digest(other)) == (one == other)


@given(TEXT, TEXT, TEXT, TEXT)
def test_a_tenants_document_is_nobody_elses(tenant: str, name: str, other_tenant: str, other_name: str) -> None:
    same = (tenant, name) == (other_tenant, other_name)
    assert (document_digest(tenant, name) == document_digest(other_tenant, other_name)) == same


@given(TEXT.filter(bool))
def test_a_metadata_key_is_read_back_from_its_field(key: str) -> None:
    assert meta_key(meta_field(key)) == key
    assert re.fullmatch("meta_[A-Za-z0-9_]+", meta_field(key))


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("speaker", "meta_speaker"),
        ("Act_2", "meta_Act_2"),
        ("x_1", "meta_x_785f31"),
        ("a b", "meta_x_612062"),
        ("é", "meta_x_c3a9"),
    ],
)
def test_plain_keys_name_their_field(key: str, field: str) -> None:
    assert meta_field(key) == field


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (3, "3"), (2.5, "2.5"), (3.0, "3.0"), (True, "true"), (False, "false"), ("", "")]
)
def test_values_are_filtered_by_their_text(value: str | float | bool, text: str) -> None:
    assert meta_value(value) == text
    assert filter_term("k", value) == filter_term("k", text)


def test_equal_values_of_other_types_are_other_terms() -> None:
    assert len({filter_term("k", 1), filter_term("k", 1.0), filter_term("k", True)}) == 3


def test_the_case_of_a_value_makes_no_difference_and_that_of_a_key_does() -> None:
    assert filter_term("k", "HAMLET") == filter_term("k", "Hamlet")
    assert filter_term("k", "x") != filter_term("K", "x")


def test_the_scope_names_tenant_everyone_and_the_groups_in_a_fixed_order() -> None:
    assert scope_filter("t", []) == f"tenant:{tenant_digest('t')} && readers:[everyone]"
    assert scope_filter("t", ["a", "b"]) == scope_filter("t", ("b", "a"))
    assert group_digest("a") in scope_filter("t", ["a"])


def test_filters_join_values_by_or_and_keys_by_and() -> None:
    a, b, c = filter_term("k", "a"), filter_term("k", "b"), filter_term("l", "c")
    assert filter_by({"l": ["c"], "k": ["a", "b"]}) == f"filters:[{a},{b}] && filters:[{c}]"
    assert filter_by({}) == filter_by({"k": []}) == ""


def test_the_whole_text_comes_from_chunks_in_any_order() -> None:
    chunks = [
        {"chunk": 10, "text": "c", "lead": "\n", "tail": " "},
        {"chunk": 0, "text": "a"},
        {"chunk": 9, "text": "b", "lead": ""},
    ]
    assert whole_text(chunks) == "ab\nc "
