"""Frames become fragments that a browser can lose, repeat and take up again."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from functions.ingress.web import stream
from functions.ingress.web.stream import Fragments
from knts.errors import Gone, KntsError, NotFound, Temporary, UpstreamFailed

PASSAGE = {"document_id": "d", "version": 1, "start": 0, "end": 3, "text": "abc", "title": "D"}


def fragments() -> Fragments:
    return Fragments(
        final=lambda final: Markup("<final>{}</final>").format(final["status"]),
        reading=lambda sources: Markup("<reading>{}</reading>").format(len(sources)),
    )


def parsed(body: bytes) -> list[tuple[str, str, str]]:
    """Event streams as browsers read them: (last id, event, data) of each event that is dispatched."""
    dispatched, last_id = [], ""
    for block in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        event, data = "message", []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                last_id = value
            elif name == "event":
                event = value
            elif name == "data":
                data.append(value)
        if data and "\n".join(data):
            dispatched.append((last_id, event, "\n".join(data)))
    return dispatched


Frame = tuple[str, str, dict[str, Any]]


async def body(*frames: Frame, fails: KntsError | None = None, from_start: bool = False) -> bytes:
    async def frames_of() -> AsyncGenerator[Frame, None]:
        for frame in frames:
            yield frame
        if fails:
            raise fails

    return b"".join([part async for part in stream.events(frames_of(), fragments(), from_start=from_start)])


@pytest.mark.parametrize(
    ("frame_type", "data", "wanted"),
    [
        ("queued", {"id": "a"}, [("status", "Searching the documents …")]),
        ("queued", {"position": 3, "expected_ms": 4200}, [("status", "Number 3 in the queue, about 4.2 s …")]),
        ("passages", {"passages": [PASSAGE]}, [("reading", "<reading>1</reading>"), ("status", "Reading 1 passage …")]),
        ("passages", {"passages": []}, [("reading", "<reading>0</reading>"), ("status", "Reading 0 passages …")]),
        ("joined", {"flight": "f"}, []),
        ("delta", {"text": "a<b"}, [("status", "Writing …"), ("delta", "a&lt;b")]),
        ("reset", {}, [("status", "Starting over …"), ("reset", "<!-- -->")]),
        ("citation", {"quote": "x"}, []),
        ("completed", {"status": "completed"}, [("final", "<final>completed</final>")]),
        ("failed", {"status": "failed"}, [("final", "<final>failed</final>")]),
        ("something-new", {}, []),
    ],
)
def test_each_frame_has_its_fragments(frame_type: str, data: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    assert [(name, str(html)) for name, html in fragments().of(frame_type, data)] == wanted


def test_writing_is_said_once_and_again_after_a_reset() -> None:
    told = fragments()
    names = [[name for name, _ in told.of(kind, {"text": "x"})] for kind in ("delta", "delta", "reset", "delta")]

    assert names == [["status", "delta"], ["delta"], ["status", "reset"], ["status", "delta"]]


@given(st.lists(st.text(min_size=1), max_size=5))
def test_deltas_come_through_to_the_character(texts: list[str]) -> None:
    told = fragments()
    sent = b"".join(stream.encoded(told.of("delta", {"text": text}), "i") for text in _encodable(texts))

    received = [data for _, event, data in parsed(sent) if event == "delta"]

    wanted = [str(escape(text)).replace("\r\n", "\n").replace("\r", "\n") for text in _encodable(texts)]
    assert received == wanted


def _encodable(texts: list[str]) -> list[str]:
    return [text.encode("utf-8", "replace").decode() for text in texts]


async def test_only_a_frames_last_fragment_carries_its_id() -> None:
    sent = await body(("one", "passages", {"passages": [PASSAGE]}), ("two", "delta", {"text": "x"}))

    assert [(last, event) for last, event, _ in parsed(sent)] == [
        ("", "reading"),
        ("one", "status"),
        ("one", "status"),
        ("two", "delta"),
    ]


async def test_a_stream_from_the_start_clears_what_is_there_and_one_taken_up_does_not() -> None:
    assert [event for _, event, _ in parsed(await body(from_start=True))] == ["reset"]
    assert parsed(await body(from_start=False)) == []


async def test_a_heartbeat_is_a_comment() -> None:
    sent = await body(("", "", {}))

    assert b": still here\n\n" in sent
    assert parsed(sent) == []


@pytest.mark.parametrize(
    ("error", "shown"),
    [(Gone("over"), "expired"), (NotFound("none"), "unknown"), (UpstreamFailed("broken"), "failed")],
)
async def test_what_can_not_be_followed_is_shown_as_the_end(error: KntsError, shown: str) -> None:
    assert parsed(await body(fails=error))[-1] == ("", "final", f"<final>{shown}</final>")


async def test_a_dependency_that_is_down_ends_the_body_so_that_the_browser_comes_back() -> None:
    sent = await body(("one", "delta", {"text": "x"}), fails=Temporary("Redis is away"))

    assert parsed(sent)[-1] == ("one", "delta", "x")
    assert sent.startswith(b"retry: 1000\n\n")
