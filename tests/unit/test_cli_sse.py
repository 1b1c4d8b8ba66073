"""Server-sent events are the same however the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.cli.sse import ServerEvent, Splitter

STREAM = (
    '\ufeff: hello\nid: 1\nevent: delta\ndata: {"text": "é"}\n\n:beat\n\n'
    "data:two\r\ndata: lines\r\n\r\nid\nevent\n\nid: 3\rdata\r\rdata: cut"
)
EVENTS = [
    ServerEvent("1", "delta", '{"text": "é"}'),
    ServerEvent("1", "message", "two\nlines"),
    ServerEvent("3", "message", ""),
]


def split(chunks: list[bytes]) -> list[ServerEvent]:
    splitter = Splitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)]


@given(st.lists(st.integers(0, len(STREAM.encode()))))
def test_where_the_stream_is_cut_does_not_matter(cuts: list[int]) -> None:
    raw = STREAM.encode()
    places = sorted({0, len(raw), *cuts})
    chunks = [raw[start:end] for start, end in pairwise(places)]
    assert split(chunks) == EVENTS


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("", []),
        (": only a comment\n\n", []),
        ("event: x\n\n", []),
        ("data: x\n", []),
        ("data: a\nid: b\0c\n\n", [ServerEvent("", "message", "a")]),
        ("data:  two spaces\n\n", [ServerEvent("", "message", " two spaces")]),
        ("unknown: y\ndata: x\nretry: 5\n\n", [ServerEvent("", "message", "x")]),
        ("event: x\ndata: a\n\ndata: b\n\n", [ServerEvent("", "x", "a"), ServerEvent("", "message", "b")]),
    ],
)
def test_fields(stream: str, events: list[ServerEvent]) -> None:
    assert split([stream.encode()]) == events


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20), min_size=1))
def test_data_comes_as_it_was_sent(lines: list[str]) -> None:
    sent = "".join(f"data: {line}\n" for line in lines) + "\n"
    assert split([sent.encode()]) == [ServerEvent("", "message", "\n".join(lines))]
