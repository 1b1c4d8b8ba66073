"""The page's address survives being shared, and whatever people type into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingress.web import address
from functions.ingress.web.address import Address

WORDS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ANSWER = "4f9d6f0a2b7c41d8a1e0c5b3d2f6a798"
ADDRESSES = st.builds(
    Address,
    query=WORDS.map(str.lstrip),
    filters=st.lists(st.tuples(st.sampled_from(["play", "act", "tags", "a.b&c="]), WORDS), unique=True, max_size=4).map(
        lambda chosen: tuple(sorted(chosen, key=lambda one: one[0]))
    ),
    offset=st.integers(0, 10_000),
    answer=st.sampled_from(["", ANSWER]),
)


@given(ADDRESSES)
def test_an_address_reads_back_what_it_wrote(here: Address) -> None:
    assert address.parse_url(here.url()) == here


@given(st.text(max_size=200))
def test_any_query_string_is_an_address_that_no_search_refuses(text: str) -> None:
    here = address.parse(address.pairs(text))

    assert len(here.query) <= 1000
    assert 0 <= here.offset <= 10_000
    assert address.parse_url(here.url()) == here


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("q=%20to+be%20", Address("to be ")),
        ("q=" + "x" * 2000, Address("x" * 1000)),
        ("offset=-3", Address()),
        ("offset=99999", Address(offset=10_000)),
        ("answer=" + ANSWER, Address(answer=ANSWER)),
        ("answer=../../etc", Address()),
        ("filter.play=Hamlet&filter.=x&filter.act=", Address(filters=(("play", "Hamlet"),))),
        ("filter.play=A&filter.play=A&filter.play=B", Address(filters=(("play", "A"), ("play", "B")))),
        ("q=%ED%A0%80%00a", Address("\ufffd\ufffd\ufffda")),
        ("q=first&q=second", Address("first")),
    ],
)
def test_what_no_search_allows_is_left_out(query: str, wanted: Address) -> None:
    assert address.parse(address.pairs(query)) == wanted


def test_choosing_twice_is_choosing_back() -> None:
    here = Address("to be", (("act", "3"),), offset=20)

    chosen = here.toggled("play", "Hamlet")

    assert chosen == Address("to be", (("act", "3"), ("play", "Hamlet")))
    assert chosen.toggled("play", "Hamlet") == here.at(0)


def test_several_values_of_a_key_go_out_as_a_list() -> None:
    here = Address(filters=(("play", "Hamlet"), ("play", "Macbeth"), ("act", "3")))

    assert here.filter_values() == {"play": ["Hamlet", "Macbeth"], "act": "3"}


def test_no_more_filters_than_the_event_takes() -> None:
    here = address.parse([(f"filter.key{number}", "x") for number in range(50)])

    assert len(here.filter_values()) == address.MAX_FILTERS
