"""Recorded spans found, put in their tree, and drawn."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from knts.cli.errors import CommandError
from knts.cli.spans import Span, read, tree, walk
from knts.cli.tracing import commands, duration, heading, label, waterfall

MS = 1_000_000
ANSWER = "ab12" + "0" * 28


def span(number: int, parent: int | None, start: int, end: int, name: str = "s", **more: Any) -> Span:
    """A span by small numbers; times in ms."""
    return {
        "trace_id": "f" * 32,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "name": name,
        "kind": "internal",
        "service": "search",
        "start": start * MS,
        "end": end * MS,
        "error": None,
        "attributes": {},
        "links": [],
        "events": [],
        **more,
    }


def redis(number: int, parent: int, start: int, end: int, **more: Any) -> Span:
    return span(number, parent, start, end, "GET", kind="client", attributes={"db.system.name": "redis"}, **more)


def shape(spans: list[Span], **options: Any) -> list[tuple[int, str, int]]:
    """Depth, number and how many folded, line by line."""
    return [
        (len(guides), str(int(node.span["span_id"], 16)), len(node.folded))
        for guides, node in walk(tree(spans, **options))
    ]


def test_spans_stand_below_their_parent_and_orphans_at_the_top() -> None:
    spans = [span(1, None, 0, 9), span(2, 1, 1, 5), span(4, 2, 2, 3), span(3, 1, 6, 8), span(5, 99, 7, 8)]
    assert shape(spans) == [(1, "1", 0), (2, "2", 0), (3, "4", 0), (2, "3", 0), (1, "5", 0)]


def test_short_redis_calls_are_folded_unless_they_failed_or_led_to_something() -> None:
    spans = [
        span(1, None, 0, 1000),
        redis(2, 1, 0, 1),
        redis(3, 1, 2, 11),
        redis(4, 1, 20, 31),
        redis(5, 1, 40, 41, error="gone"),
        redis(6, 1, 50, 51),
        span(7, 6, 50, 51),
    ]
    assert shape(spans) == [(1, "1", 2), (2, "4", 0), (2, "5", 0), (2, "6", 0), (3, "7", 0)]
    assert len(shape(spans, fold=False)) == len(spans)


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=30))
def test_every_span_is_shown_once_however_they_hang_together(parents: list[int | None]) -> None:
    spans = [
        span(number, parent if parent is not None and parent < number else None, number, number + 1)
        for number, parent in enumerate(parents)
    ]
    numbers = [number for _, number, _ in shape(spans)]
    assert sorted(numbers, key=int) == [str(number) for number in range(len(parents))]


# -- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    marked = {"knts.correlation_id": ANSWER}
    other = {"trace_id": "e" * 32, "attributes": {"knts.correlation_id": "ab99" + "0" * 28}}
    files = {
        "search.jsonl.1": [span(2, 1, 1, 2, attributes=marked)],
        "search.jsonl": [span(3, 1, 3, 4), span(9, None, 0, 1, **other)],
        "ingress.jsonl": [span(1, None, 0, 5)],
    }
    for name, spans in files.items():
        (tmp_path / name).write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in spans))
    with (tmp_path / "search.jsonl").open("ab") as file:
        file.write(b'{"trace_id": "' + b"f" * 32 + b'", "torn')
    return tmp_path


@pytest.mark.parametrize("wanted", [ANSWER, "ab12", "f" * 32, "ffff"])
def test_an_answers_whole_trace_is_found_by_the_start_of_its_id(folder: Path, wanted: str) -> None:
    assert [int(one["span_id"], 16) for one in read(folder, wanted)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("0123456", "no span of 0123456 is recorded"),
        ("ab", "is no id"),
        ("../../etc", "is no id"),
        ("s.jsonl", "is no id"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, wanted: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        read(folder, wanted)


def test_an_id_that_several_begin_with_names_them(folder: Path) -> None:
    line = span(8, None, 0, 1, trace_id="d" * 32, attributes={"knts.correlation_id": "ab12" + "1" * 28})
    (folder / "more.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    with pytest.raises(CommandError, match=f"several begin with ab12: {ANSWER}, ab121111"):
        read(folder, "ab12")


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no spans are recorded in"):
        read(tmp_path, ANSWER)


# -- drawing ----------------------------------------------------------------------------------------------------------


def drawn(spans: list[Span], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(waterfall(spans, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_waterfall_shows_place_service_time_and_failure() -> None:
    spans = [
        span(1, None, 0, 100, "POST /v1/answers", service="ingress", kind="server"),
        span(2, 1, 50, 100, "process knts.search.requested.v1"),
        redis(3, 2, 60, 61),
        span(4, 2, 90, 100, "chat small", error="Ollama is gone"),
    ]
    assert drawn(spans, 80) == [
        "POST /v1/answers                            ingress 100.0 ms ━━━━━━━━━━━━━━━━━━━",
        "└─ process search.requested +1 Redis 1.0 ms search   50.0 ms          ━━━━━━━━━━",
        "   └─ chat small (Ollama is gone)           search   10.0 ms                  ━━",
    ]
    assert heading(spans) == f"100.0 ms, 4 spans, 1 with errors in ingress, search; trace {'f' * 32}"


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)), min_size=1, max_size=9), st.integers(60, 200)
)
def test_every_bar_fits_its_line_and_shows(times: list[tuple[int, int]], width: int) -> None:
    spans = [
        {**span(number, None, 0, 0), "start": start, "end": start + took} for number, (start, took) in enumerate(times)
    ]
    lines = drawn(spans, width)
    assert len(lines) == len(times)
    assert all("━" in line and len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        (
            {"name": "POST", "kind": "client", "attributes": {"url.full": "http://h:8108/multi_search"}},
            "POST :8108/multi_search",
        ),
        ({"name": "POST", "kind": "client", "attributes": {"url.full": "https://h/x?q=1"}}, "POST h/x"),
        ({"name": "GET /", "attributes": {"http.response.status_code": 200}}, "GET / 200"),
        ({"name": "process knts.answer.completed.v1"}, "process answer.completed"),
        ({"name": "SET SADD SADD", "attributes": {"db.system.name": "redis"}}, "SET SADD ×2"),
    ],
)
def test_labels_say_what_a_span_did(named: dict[str, Any], wanted: str) -> None:
    assert label({**span(1, None, 0, 1), **named}) == wanted


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0 µs"), (999_999, "1000 µs"), (1_500_000, "1.5 ms"), (2_500_000_000, "2.50 s")]
)
def test_durations_have_the_unit_that_suits(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_commands_are_counted() -> None:
    assert commands("HMGET HMGET GET HMGET") == "HMGET ×3 GET"
