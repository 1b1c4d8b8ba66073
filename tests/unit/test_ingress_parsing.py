"""From HTTP words to ours, both ways: what is understood, and which field and rule a refusal names."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingress import cors, parsing
from functions.ingress.failures import told
from functions.ingress.requests import check_depth, checked, checked_document
from knts import errors, events
from knts.errors import BadRequest, KntsError, TooLarge, UnsupportedMedia


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {"query": ""}),
        (b"q=a+b%20c", {"query": "a b c"}),
        (b"q=%C3%A9&limit=5&offset=10", {"query": "é", "limit": 5, "offset": 10}),
        (b"filter.play=Hamlet", {"query": "", "filters": {"play": "Hamlet"}}),
        (b"filter.a=1&filter.a=2", {"query": "", "filters": {"a": ["1", "2"]}}),
        (b"filter.a.b%3D=x", {"query": "", "filters": {"a.b=": "x"}}),
        (b"facet=a&facet=b&facet=a", {"query": "", "facets": ["a", "b"]}),
        (b"limit=-3", {"query": "", "limit": -3}),
    ],
)
def test_a_search_in_a_query_string(query: bytes, expected: dict[str, Any]) -> None:
    assert parsing.search_query(query) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"query=x", "query"),
        (b"q=1&q=2", "q"),
        (b"limit=ten", "limit"),
        (b"limit=1.5", "limit"),
        (b"limit=", "limit"),
        (b"offset=99999999999999999999", "offset"),
        (b"filter.=x", "filter."),
        (b"groups=hr", "groups"),
        (b"q=%ff", "query"),
        (b"q=\xff", "query"),
        (b"&".join(b"facet=%d" % n for n in range(300)), "query"),
    ],
)
def test_a_bad_query_string_is_refused_by_name(query: bytes, field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parsing.search_query(query)
    assert refusal.value.errors[0]["field"] == field


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512))
def test_any_id_survives_a_path(document_id: str) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in document_id.encode())
    assert parsing.path_text(escaped) == document_id


@pytest.mark.parametrize(
    ("raw", "text"),
    [("a%2Fb", "a/b"), ("a/b", "a/b"), ("%2525", "%25"), ("100%", "100%"), ("..%2F..", "../.."), ("a+b", "a+b")],
)
def test_a_path_is_decoded_once(raw: str, text: str) -> None:
    assert parsing.path_text(raw) == text


def test_a_path_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(BadRequest):
        parsing.path_text("%ff")


@pytest.mark.parametrize(
    ("accept", "stream", "whole"),
    [
        (None, 1, 1),
        ("*/*", 1, 1),
        ("application/json", 0, 1),
        ("text/event-stream", 1, 0),
        ("text/*;q=0.5, application/json;q=0.4", 0.5, 0.4),
        ("text/event-stream;q=0, */*", 0, 1),
        ("Application/JSON; Q=0.3", 0, 0.3),
        ("text/html", 0, 0),
        ("application/json;q=x", 0, 0),
        (",;,", 0, 0),
    ],
)
def test_what_a_client_accepts(accept: str | None, stream: float, whole: float) -> None:
    assert parsing.accepts(accept, "text/event-stream") == stream
    assert parsing.accepts(accept, "application/json") == whole


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, False),
        ("respond-async", True),
        ("wait=5, Respond-Async; foo", True),
        ("respond-sync", False),
        ("x=respond-async", False),
    ],
)
def test_who_prefers_an_address(prefer: str | None, expected: bool) -> None:
    assert parsing.prefers_async(prefer) is expected


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/json; charset=utf-16", "application/x-www-form-urlencoded"]
)
def test_other_media_types_are_refused(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMedia):
        parsing.check_media(content_type, ["application/json"])


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"'])
def test_json_is_taken(content_type: str) -> None:
    parsing.check_media(content_type, ["application/json"])


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"{", b"\xff", b"", b'{"a": NaN}', b'"\\ud800"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(KntsError) as refusal:
        parsing.json_object(body)
    assert refusal.value.status == 400
    assert refusal.value.errors[0]["field"] == "body"


@pytest.mark.parametrize(("levels", "good"), [(31, True), (32, True), (33, False), (5000, False)])
def test_depth_is_bounded(levels: int, good: bool) -> None:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    if good:
        check_depth(value)
    else:
        with pytest.raises(BadRequest):
            check_depth(value)


# -- NDJSON -----------------------------------------------------------------------------------------------------------


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(places):
        yield body[start:end]


@given(st.lists(st.binary(max_size=12)), st.lists(st.integers(0, 1000), max_size=12))
async def test_lines_don_t_depend_on_how_a_body_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    body = b"\n".join(line.replace(b"\n", b"") for line in lines)
    expected = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    assert [one async for one in parsing.ndjson_lines(pieces(body, cuts), 1000)] == expected


async def test_a_long_line_is_refused_alone() -> None:
    body = b"a\n" + b"b" * 11 + b"\n\nc" + b"c" * 20
    found = [one async for one in parsing.ndjson_lines(pieces(body, [3, 5, 9]), 10)]
    assert [number for number, _ in found] == [1, 2, 4]
    assert found[0][1] == b"a"
    assert all(isinstance(line, TooLarge) for _, line in found[1:])


async def test_a_body_that_breaks_off_keeps_what_came_before() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a\nb"
        raise BadRequest("gone")

    found = [one async for one in parsing.ndjson_lines(broken(), 10)]
    assert found[0] == (1, b"a")
    assert isinstance(found[1][1], BadRequest)
    assert found[1][0] == 2


# -- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "question"),
        ({"question": ""}, "question"),
        ({"question": "x" * 4001}, "question"),
        ({"question": "q", "groups": ["hr"]}, "groups"),
        ({"question": "q", "tenant": "t"}, "tenant"),
        ({"question": "q", "cache": "maybe"}, "cache"),
        ({"question": "q", "max_passages": 0}, "max_passages"),
        ({"question": "q", "filters": {"a": {}}}, "filters.a"),
    ],
)
def test_a_bad_question_is_refused_by_field(request_: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        checked(events.ANSWER_REQUESTED, request_, groups=[])
    assert field in [fault["field"] for fault in refusal.value.errors]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "", "title": "", "text": ""}, "id"),
        ({"id": "x" * 513, "title": "", "text": ""}, "id"),
        ({"id": "a", "text": ""}, "title"),
        ({"id": "a", "title": "", "text": None}, "text"),
        ({"id": "a", "title": "", "text": "", "version": 0}, "version"),
        ({"id": "a", "title": "", "text": "", "version": 2**53}, "version"),
        ({"id": "a", "title": "", "text": "", "body": ""}, "body"),
        ({"id": "a", "title": "", "text": "abc", "sections": [{"start": 0, "end": 4}]}, "sections.0"),
        (
            {"id": "a", "title": "", "text": "abc", "sections": [{"start": 0, "end": 1}, {"start": 2, "end": 1}]},
            "sections.1",
        ),
    ],
)
def test_a_bad_document_is_refused_by_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        checked_document(document)
    assert field in [fault["field"] for fault in refusal.value.errors]


# -- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told_status"),
    [(504, 504), (503, 503), (429, 429), (422, 400), (400, 400), (413, 413), (500, 502), (None, 502), ("504", 502)],
)
def test_what_a_failed_ask_means_to_its_asker(status: Any, told_status: int) -> None:
    error = told({"status": "failed", "reason": "because", "problem": {"status": status, "errors": [{"field": "f"}]}})
    assert (error.status, error.detail, error.errors) == (told_status, "because", [{"field": "f"}])


@pytest.mark.parametrize("problem", [None, "text", 7, {"errors": "none"}, {"errors": [1]}, {}])
def test_a_failure_without_a_proper_problem_is_told_all_the_same(problem: Any) -> None:
    assert errors.problem(told({"problem": problem}))["status"] == 502


@pytest.mark.parametrize(
    ("origin", "origins", "expected"),
    [
        ("https://a.example", (), None),
        ("https://a.example", ("https://a.example",), "https://a.example"),
        ("https://b.example", ("https://a.example",), None),
        ("https://b.example", ("*",), "*"),
        ("", ("https://a.example",), None),
        ("https://a.example.evil", ("https://a.example",), None),
    ],
)
def test_which_pages_from_elsewhere_may_read(origin: str, origins: tuple[str, ...], expected: str | None) -> None:
    assert cors.allowed(origin, origins).get("access-control-allow-origin") == expected
    assert ("access-control-allow-methods" in cors.preflight(origin, origins)) is (expected is not None)
    assert "access-control-allow-credentials" not in cors.preflight(origin, origins)
