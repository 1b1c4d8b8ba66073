"""What an event says becomes a version and chunks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.index_document.documents import chunks, version
from knts import events
from knts.clients.chunks import parted, refusal
from knts.clients.typesense import Missing, failure
from knts.errors import IndexUnavailable, Permanent, Temporary
from knts.events import Event
from knts.index import EVERYONE, filter_term, group_digest, whole_text


def upserted(**data: Any) -> Event:
    document = {"id": "d", "version": 1, "title": "T", "text": "text", **data}
    return events.new_event(events.DOCUMENT_UPSERTED, "/tests", document, tenant="t")


def stored(**data: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in chunks(upserted(**data))]


def test_the_content_is_all_but_id_version_and_key_order() -> None:
    first = version(upserted(url="/x", tags=["a"]))
    reordered = {"tags": ["a"], "url": "/x", "text": "text", "title": "T", "version": 1, "id": "d"}
    again = events.new_event(events.DOCUMENT_UPSERTED, "/elsewhere", reordered, tenant="t")
    assert version(again) == first
    assert version(upserted(version=2, url="/x", tags=["a"])).content_hash == first.content_hash
    assert version(upserted(url="/x", tags=["b"])).content_hash != first.content_hash
    removal = events.new_event(events.DOCUMENT_DELETED, "/tests", {"id": "d", "version": 1}, tenant="t")
    assert version(removal).content_hash != first.content_hash


def test_a_version_written_as_a_float_is_the_same_number() -> None:
    assert version(upserted(version=3.0)).number == 3
    assert stored(version=3.0)[0]["id"] == stored(version=3)[0]["id"]


def test_a_chunk_says_where_it_is_from() -> None:
    [chunk] = stored(text=" The text’s end ", url="https://x.org", lang="en", tags=["a"], acl=["staff"], id="ä/1")
    assert {name: chunk[name] for name in ("document_id", "version", "chunk", "url", "lang", "tags")} == {
        "document_id": "ä/1", "version": 1, "chunk": 0, "url": "https://x.org", "lang": "en", "tags": ["a"],
    }  # fmt: skip
    assert {name: chunk[name] for name in ("text", "start", "end", "lead", "tail", "words")} == {
        "text": "The text’s end", "start": 1, "end": 15, "lead": " ", "tail": " ", "words": "the text end",
    }  # fmt: skip
    assert chunk["readers"] == [group_digest("staff")]
    assert stored()[0]["readers"] == stored(acl=[])[0]["readers"] == [EVERYONE]


def test_a_sections_metadata_stands_over_the_documents() -> None:
    inside, outside = stored(
        text="in.out",
        metadata={"act": "I", "play": "Hamlet", "none": []},
        sections=[{"start": 0, "end": 3, "title": "One", "metadata": {"act": "II", "odd key": [1, True]}}],
    )
    assert (inside["section"], inside["section_words"], outside["section"]) == ("One", "one", "")
    assert (inside["meta_act"], outside["meta_act"]) == (["II"], ["I"])
    assert inside["meta_x_6f6464206b6579"] == ["1", "true"]
    assert filter_term("act", "II") in inside["filters"]
    assert filter_term("act", "I") not in inside["filters"]
    assert filter_term("play", "hamlet") in outside["filters"]
    assert filter_term("title", "T") in outside["filters"]
    assert "meta_none" not in inside


def test_chunks_of_two_versions_or_contents_never_share_an_id() -> None:
    ids = [
        chunk["id"]
        for data in ({}, {"version": 2}, {"title": "U"}, {"id": "e"})
        for chunk in stored(text="x " * 2000, **data)
    ]
    assert len(set(ids)) == len(ids)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.integers(0, 30), st.integers(0, 30))
def test_any_text_is_rebuilt_from_its_chunks(text: str, start: int, length: int) -> None:
    sections = [{"start": min(start, len(text)), "end": min(start + length, len(text))}]
    assert whole_text(stored(text=text, sections=sections)) == text


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"text": "a\x00"}, "text"),
        ({"title": "\x00"}, "title"),
        ({"tags": ["ok", "\x00"]}, "tags.1"),
        ({"metadata": {"k\x00": 1}}, "metadata"),
        ({"sections": [{"start": 0, "end": 1, "title": "\x00"}]}, "sections.0.title"),
    ],
)
def test_nul_is_refused_by_the_fields_name(data: dict[str, Any], field: str) -> None:
    with pytest.raises(Permanent) as refused:
        stored(**data)
    assert refused.value.errors == [{"field": field, "rule": "must not hold the character NUL"}]


def test_metadata_keys_are_bounded_over_all_sections() -> None:
    def sections(count: int) -> list[dict[str, Any]]:
        return [{"start": 0, "end": 4, "metadata": {f"k{number}": 1 for number in range(count)}}]

    assert len(stored(sections=sections(127), metadata={"k": 1, "k0": 1})) == 1
    with pytest.raises(Permanent, match="at most 128 different keys"):
        stored(sections=sections(128), metadata={"k": 1})


@pytest.mark.parametrize("document_id", ["a\nb", "\x7f", "\x00"])
def test_an_id_that_could_be_no_subject_is_refused(document_id: str) -> None:
    with pytest.raises(Permanent, match="id"):
        version(upserted(id=document_id))


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "Not Found", Missing),
        (400, "Bad filter", Permanent),
        (401, "Forbidden - a valid `x-typesense-api-key` header must be sent.", IndexUnavailable),
        (422, "Rejecting write: running out of resource type: OUT_OF_DISK", IndexUnavailable),
        (422, "Skipping writes.", IndexUnavailable),
        (500, "Could not find a leader.", IndexUnavailable),
        (503, "Not Ready or Lagging", IndexUnavailable),
    ],
)
def test_an_error_of_typesense_says_whether_trying_again_helps(status: int, message: str, kind: type) -> None:
    found = failure(status, json.dumps({"message": message}).encode())
    assert type(found) is kind
    assert status == 401 or message in found.detail
    assert isinstance(failure(502, b"<html>"), Temporary)


def test_a_line_is_refused_or_the_server_takes_none() -> None:
    assert refusal({"success": True}) is None
    assert refusal({"success": False, "code": 400, "error": "Field `x` is odd."}) == "Field `x` is odd."
    for result in ({"code": 422, "error": "Rejecting write: running out"}, {"code": 500, "error": "Could not write"}):
        with pytest.raises(Temporary):
            refusal(result)


@given(st.lists(st.binary(max_size=20)), st.integers(1, 5), st.integers(1, 30))
def test_an_import_is_parted_in_order_and_within_bounds(lines: list[bytes], most_lines: int, most_bytes: int) -> None:
    parts = [list(part) for part in parted(lines, most_lines, most_bytes)]
    assert [line for part in parts for line in part] == lines
    assert all(part and len(part) <= most_lines for part in parts)
    assert all(len(part) == 1 or sum(map(len, part)) <= most_bytes for part in parts)
