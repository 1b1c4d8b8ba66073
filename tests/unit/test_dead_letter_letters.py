"""Which dead letters an operator means, and what he is told of each."""

import base64
from typing import Any

import pytest

from functions.dead_letter.letters import Wanted, told, told_whole, wanted
from knts import errors
from knts.clients.dead_letters import DeadLetter
from knts.errors import BadRequest, Permanent
from knts.events import Event

OURS = errors.problem(Permanent("version: too high"))


def letter(stored: int = 1000, data: bytes = b"{}", error: bytes = b"", **attributes: str) -> DeadLetter:
    named = {"id": "1", "type": "knts.document.upserted.v1", "tenant": "t", "kntserrortrigger": "default/search"}
    failed = {"knativeerrordest": "http://s/", "knativeerrorcode": "422"}
    said = {"knativeerrordata": base64.b64encode(error).decode()}
    return DeadLetter("x", Event({**named, **failed, **said, **attributes}, data), stored, 2, 0, len(data))


@pytest.mark.parametrize(
    ("query", "means"),
    [
        ({}, True),
        ({"type": "knts.document"}, True),
        ({"type": "document"}, False),
        ({"trigger": "search"}, True),
        ({"trigger": "default/search"}, True),
        ({"trigger": "other/search"}, False),
        ({"trigger": "sear"}, False),
        ({"tenant": "t"}, True),
        ({"tenant": "u"}, False),
        ({"since": "1970-01-01T00:00:01Z"}, True),
        ({"since": "1970-01-01T01:00:01.001+01:00"}, False),
        ({"tenant": "t", "type": "x"}, False),
    ],
)
def test_filters(query: dict[str, str], means: bool) -> None:
    assert wanted(query).means(letter()) is means


@pytest.mark.parametrize(
    "query",
    [
        {"nonsense": "1"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "²"},
        {"limit": ""},
        {"since": "now"},
        {"since": ""},
    ],
)
def test_a_query_that_is_not_understood_is_refused_by_name(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        wanted(query)
    assert refused.value.errors[0]["field"] in query


def test_a_query_says_where_to_go_on() -> None:
    assert wanted({"after": "1-x", "limit": "7"}) == Wanted(after="1-x", limit=7)


@pytest.mark.parametrize(
    ("error", "problem", "text"),
    [
        (errors.problem_bytes(Permanent("version: too high")), OURS, None),
        (b"<html>", None, "<html>"),
        (b"\xff", None, "\ufffd"),
        (b"", None, None),
    ],
)
def test_what_the_subscriber_said_is_decoded(error: bytes, problem: Any, text: str | None) -> None:
    found = told(letter(error=error))
    assert (found["problem"], found["text"]) == (problem, text)


def test_what_a_broker_did_not_encode_is_told_as_it_is() -> None:
    assert told(letter(knativeerrordata="plain words"))["text"] == "plain words"


def test_a_letter_is_told_without_its_data_and_whole() -> None:
    found = told(letter(stored=1_500, data=b"\xff\x00"))
    assert (found["stored"], found["times"], found["bytes"], found["cut"]) == ("1970-01-01T00:00:01.500Z", 2, 2, 0)
    assert (found["trigger"], found["destination"], found["code"]) == ("default/search", "http://s/", 422)
    assert found["attributes"]["tenant"] == "t"
    assert "data_base64" not in found
    assert base64.b64decode(told_whole(letter(data=b"\xff\x00"))["data_base64"]) == b"\xff\x00"


def test_what_nobody_told_is_none() -> None:
    found = told(DeadLetter("x", Event({"type": "t"}, b""), 0, 1))
    assert [found[name] for name in ("trigger", "destination", "code", "problem", "text")] == [None] * 5
