"""Which events a Trigger wants, by its manifest's words: a table both ways, and properties against a second reading."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.devbroker.fields import Field
from knts.devbroker.manifests import trigger_filter

EVENT = {
    "specversion": "1.0",
    "id": "42",
    "type": "com.example.order.created",
    "source": "/shop/7",
    "subject": "order-1%_*?.txt",
    "tenant": "local",
}


def passes(spec: dict[str, Any], event: dict[str, str]) -> bool:
    return trigger_filter(Field("t.yaml", "spec", spec))(event)


YES: list[dict[str, Any]] = [
    {},
    {"filter": {"attributes": {}}},
    {"filters": []},
    {"filter": {"attributes": {"type": "com.example.order.created"}}},
    {"filter": {"attributes": {"type": "com.example.order.created", "tenant": "local"}}},
    {"filter": {"attributes": {"tenant": ""}}},
    {"filters": [{"exact": {"type": "com.example.order.created"}}]},
    {"filters": [{"exact": {"type": "com.example.order.created", "id": "42"}}]},
    {"filters": [{"prefix": {"type": "com.example."}}, {"suffix": {"type": ".created"}}]},
    {"filters": [{"suffix": {"subject": "%_*?.txt"}}]},
    {"filters": [{"not": {"exact": {"type": "other"}}}]},
    {"filters": [{"not": {"exact": {"absent": "x"}}}]},
    {"filters": [{"not": {"prefix": {"absent": "x"}}}]},
    {"filters": [{"any": [{"exact": {"type": "other"}}, {"prefix": {"source": "/shop"}}]}]},
    {
        "filters": [
            {"all": [{"exact": {"id": "42"}}, {"not": {"any": [{"suffix": {"id": "3"}}, {"exact": {"id": "1"}}]}}]}
        ]
    },
    {"filter": {"attributes": {"type": "overridden"}}, "filters": [{"exact": {"id": "42"}}]},
    {"filter": {"attributes": {"type": "com.example.order.created"}}, "filters": []},
]
NO: list[dict[str, Any]] = [
    {"filter": {"attributes": {"type": "com.example.order"}}},
    {"filter": {"attributes": {"absent": ""}}},
    {"filter": {"attributes": {"type": "com.example.order.created", "tenant": "other"}}},
    {"filters": [{"exact": {"type": "COM.example.order.created"}}]},
    {"filters": [{"exact": {"type": "com.example.order.created", "id": "43"}}]},
    {"filters": [{"exact": {"absent": "x"}}]},
    {"filters": [{"prefix": {"absent": "x"}}]},
    {"filters": [{"suffix": {"absent": "x"}}]},
    {"filters": [{"prefix": {"type": "example"}}]},
    {"filters": [{"prefix": {"subject": "order%"}}]},
    {"filters": [{"prefix": {"subject": "order.*"}}]},
    {"filters": [{"suffix": {"subject": "?txt"}}]},
    {"filters": [{"not": {"prefix": {"type": "com."}}}]},
    {"filters": [{"any": [{"exact": {"type": "other"}}, {"exact": {"id": "1"}}]}]},
    {"filters": [{"all": [{"exact": {"id": "42"}}, {"exact": {"id": "1"}}]}]},
    {"filters": [{"exact": {"id": "42"}}, {"exact": {"tenant": "x"}}]},
    {"filter": {"attributes": {"type": "com.example.order.created"}}, "filters": [{"exact": {"id": "1"}}]},
]


@pytest.mark.parametrize("spec", YES, ids=str)
def test_wanted(spec: dict[str, Any]) -> None:
    assert passes(spec, EVENT)


@pytest.mark.parametrize("spec", NO, ids=str)
def test_not_wanted(spec: dict[str, Any]) -> None:
    assert not passes(spec, EVENT)


# -- against a second reading of the specification --------------------------------------------------------------------

NAMES = st.sampled_from(["type", "source", "id", "tenant", "absent"])
WORDS = st.text("ab%_*.?", min_size=1, max_size=4)
EVENTS = st.dictionaries(st.sampled_from(["type", "source", "id", "tenant"]), WORDS, max_size=4)
LEAVES = st.builds(
    lambda dialect, wanted: {dialect: wanted},
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.dictionaries(NAMES, WORDS, min_size=1, max_size=2),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"all": many}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"any": many}),
    ),
    max_leaves=8,
)


def oracle(spec: dict[str, Any], event: dict[str, str]) -> bool:
    """The specification's sentences, read once more: by slices and counts instead of methods and closures."""
    [(dialect, inner)] = spec.items()
    if dialect == "not":
        return not oracle(inner, event)
    if dialect in ("all", "any"):
        held = sum(oracle(one, event) for one in inner)
        return held == len(inner) if dialect == "all" else held > 0
    for name, wanted in inner.items():
        if name not in event:
            return False
        value = event[name]
        start = {"exact": 0, "prefix": 0, "suffix": max(0, len(value) - len(wanted))}[dialect]
        end = {"exact": None, "prefix": len(wanted), "suffix": None}[dialect]
        if value[start:end] != wanted:
            return False
    return True


@given(st.lists(FILTERS, min_size=1, max_size=3), EVENTS)
def test_every_filter_means_what_the_specification_says(filters: list[dict[str, Any]], event: dict[str, str]) -> None:
    assert passes({"filters": filters}, event) == all(oracle(one, event) for one in filters)


@given(FILTERS, EVENTS)
def test_not_turns_every_answer_round(spec: dict[str, Any], event: dict[str, str]) -> None:
    assert passes({"filters": [{"not": spec}]}, event) != passes({"filters": [spec]}, event)


@given(st.dictionaries(NAMES, st.one_of(st.just(""), WORDS), min_size=1), EVENTS)
def test_the_old_form_wants_equal_values_or_presence(wanted: dict[str, str], event: dict[str, str]) -> None:
    expected = all(name in event and value in ("", event[name]) for name, value in wanted.items())
    assert passes({"filter": {"attributes": wanted}}, event) == expected
