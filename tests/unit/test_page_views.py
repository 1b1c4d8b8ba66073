"""What the templates show, made from the API's objects."""

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingress.web import answers, documents, hits, words
from functions.ingress.web.address import Address
from functions.ingress.web.documents import Place
from functions.ingress.web.templates import answered
from knts.errors import NotFound

PASSAGE = {
    "document_id": "plays/hamlet",
    "version": 3,
    "title": "Hamlet",
    "url": None,
    "start": 100,
    "end": 124,
    "text": "The scene is in Denmark.",
}
CITATION = {
    **{name: PASSAGE[name] for name in ("document_id", "version", "title", "url")},
    "start": 113,
    "end": 123,
    "quote": "in Denmark",
    "answer_start": 0,
    "answer_end": 10,
}


def final(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "question": "Where?", "status": "completed", "answer": "In Denmark.", **fields}


def test_a_citation_marks_its_quote_in_the_passage_around_it() -> None:
    shown = answers.answer(final(citations=[CITATION], passages=[{**PASSAGE, "start": 0, "end": 9}, PASSAGE]))

    (citation,) = shown.citations
    assert [(run.text, run.marked) for run in citation.runs] == [
        ("The scene is ", False),
        ("in Denmark", True),
        (".", False),
    ]
    assert citation.link == "/ui/document?id=plays%2Fhamlet&start=113&end=123#passage"


def test_citations_of_one_passage_share_its_number() -> None:
    other = {**PASSAGE, "document_id": "plays/macbeth"}
    cited = [CITATION, {**CITATION, "document_id": "plays/macbeth"}, {**CITATION, "start": 100, "end": 103}]

    shown = answers.answer(final(citations=cited, passages=[PASSAGE, other]))

    assert [citation.source.number for citation in shown.citations] == [1, 2, 1]
    assert [source.number for source in shown.sources] == [1, 2]


@given(
    st.text(alphabet="ab .,)<", max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4)
)
def test_numbers_are_put_into_the_text_and_change_nothing_else(text: str, places: list[tuple[int, int]]) -> None:
    cited = [{**CITATION, "answer_start": min(place), "answer_end": max(place)} for place in places]

    html = answered(answers.answer(final(answer=text, citations=cited, passages=[PASSAGE])))

    bare = re.sub(r"<button[^>]*>\[\d+\]</button>", "", html)
    assert unescape(re.sub(r"</?span[^>]*>", "", bare)) == text


def test_what_no_passage_supports_is_marked_in_words_at_its_end() -> None:
    text = "In Denmark. Falstaff drinks."
    parts = [
        {"start": 0, "end": 11, "supported": True, "citations": [0]},
        {"start": 12, "end": 28, "supported": False, "citations": []},
    ]
    shown = answers.answer(final(answer=text, citations=[CITATION], passages=[PASSAGE], sentences=parts))

    html = answered(shown)

    assert html.endswith('<span class="doubted">Falstaff drinks.</span> <small class="doubt">unsupported</small>')
    assert html.count("unsupported") == 1
    assert answers.announcement(shown).startswith(
        "The answer, with 1 source, and 1 sentence that no passage supports: "
    )


@given(
    st.text(alphabet="ab .,)<", min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=3),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=3),
)
def test_marks_of_support_are_put_into_the_text_and_change_nothing_else(
    text: str, places: list[tuple[int, int]], doubted: list[tuple[int, int]]
) -> None:
    cited = [{**CITATION, "answer_start": min(place), "answer_end": max(place)} for place in places]
    parts = [{"start": min(each), "end": max(each), "supported": False, "citations": []} for each in doubted]

    html = answered(answers.answer(final(answer=text, citations=cited, passages=[PASSAGE], sentences=parts)))

    bare = re.sub(r"<button[^>]*>\[\d+\]</button>| <small[^>]*>unsupported</small>", "", html)
    assert unescape(re.sub(r"</?span[^>]*>", "", bare)) == text


@pytest.mark.parametrize("passages", [[], [{**PASSAGE, "version": 2}], [{**PASSAGE, "end": 120}]])
def test_a_citation_whose_passage_is_not_there_shows_its_quote(passages: list[dict[str, Any]]) -> None:
    (citation,) = answers.answer(final(citations=[CITATION], passages=passages)).citations

    assert [(run.text, run.marked) for run in citation.runs] == [("in Denmark", True)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"reason": "no-passages"}, "no-passages"),
        ({"problem": {"title": "Failed", "detail": "Ollama is away"}, "reason": "x"}, "Ollama is away"),
        ({"problem": {"title": "Failed"}}, "Failed"),
        ({}, ""),
    ],
)
def test_the_reason_is_the_most_telling_one(fields: dict[str, Any], reason: str) -> None:
    assert answers.answer(final(status="failed", **fields)).reason == reason


def test_the_small_print_leaves_out_what_is_unknown() -> None:
    timings = {"queued": None, "search": 4.2, "first_token": None, "total": 61_000}

    assert answers.facts({"timings_ms": timings, "usage": {"completion_tokens": 0}}) == ("search 4 ms", "61 s in all")


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (999.4, "999 ms"), (1000, "1.0 s"), (9949, "9.9 s"), (75_000, "75 s")]
)
def test_spans_of_time_are_short(ms: float, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://team.test/page", True),
        ("HTTP://team.test", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//team.test", False),
        ("http://[", False),
        (None, False),
    ],
)
def test_only_web_addresses_are_linked(url: str | None, kept: bool) -> None:
    assert words.outside_link({"url": url}) == (url if kept else "")


def body(**fields: Any) -> dict[str, Any]:
    hit = {
        "document_id": "d",
        "version": 1,
        "title": "Hamlet",
        "url": None,
        "section": "Act 3",
        "tags": ["play"],
        "metadata": {"act": "Act 3", "speaker": ["Hamlet", "Ghost"], "year": 1603, "verse": True, "none": None},
        "passage": {"start": 0, "end": 3, "text": "abc"},
        "highlights": [],
    }
    return {"found": 30, "took_ms": 1.0, "hits": [hit], "facets": {}, **fields}


def test_a_hit_tells_what_its_title_does_not() -> None:
    (hit,) = hits.results(Address("x"), body()).hits

    assert hit.tags == ("Ghost", "1603", "true", "play")


def test_a_facet_whose_only_value_all_hits_share_is_not_shown() -> None:
    facets = {"play": [{"value": "Hamlet", "count": 30}], "act": [{"value": "3", "count": 12}], "none": []}

    assert [facet.label for facet in hits.results(Address("x"), body(facets=facets)).facets] == ["Act"]


def test_a_chosen_value_stays_to_be_taken_back_and_comes_first() -> None:
    here = Address("x", (("play", "Macbeth"), ("play", "Lear")))
    counted = [{"value": value, "count": 5} for value in ("Hamlet", "Macbeth")]

    (facet,) = hits.results(here, body(facets={"play": counted})).facets

    assert [(choice.value, choice.chosen, choice.count) for choice in facet.choices] == [
        ("Lear", True, None),
        ("Macbeth", True, 5),
        ("Hamlet", False, 5),
    ]
    assert facet.choices[1].link.page == "/?q=x&filter.play=Lear"


def test_many_values_are_folded_away() -> None:
    counted = [{"value": str(number), "count": 1} for number in range(20)]

    (facet,) = hits.results(Address("x"), body(facets={"line": counted})).facets

    assert (len(facet.choices), len(facet.folded)) == (6, 14)


@pytest.mark.parametrize(("offset", "found", "more"), [(0, 1, None), (0, 2, 1), (29, 30, None), (5, 30, 6)])
def test_more_follows_what_is_shown(offset: int, found: int, more: int | None) -> None:
    shown = hits.results(Address("x", offset=offset), body(found=found)).more

    assert (shown.fragment if shown else None) == (f"/ui/search/more?q=x&offset={more}" if more else None)


def test_words_taken_for_others_are_told() -> None:
    assert hits.results(Address("x"), body(spelling={"arows": "arrows"})).spelling == (("arows", "arrows"),)


@given(st.text(max_size=9000), st.integers(0, 9500), st.integers(0, 9500), st.none() | st.integers(0, 20_000))
def test_a_window_is_a_part_of_the_document_with_its_passage_marked(
    text: str, start: int, length: int, at: int | None
) -> None:
    document = {"text": text, "version": 1, "title": "T"}
    shown = documents.around(document, Place("d", start, start + length, at))

    window = "".join(run.text for run in shown.runs)
    assert window in text
    assert len(window) <= documents.WINDOW
    if at is None and length and start < len(text):
        assert next(run.text for run in shown.runs if run.marked)[:1] == text[start]


def test_windows_lead_through_the_whole_document() -> None:
    text = "".join(f"line {number}\n" for number in range(4000))
    shown = documents.around({"text": text, "version": 1}, Place("d", 20_000, 20_010, at=0))
    seen = "".join(run.text for run in shown.runs)
    while shown.later:
        place = documents.place(dict(pair.split("=") for pair in shown.later.split("?")[1].split("&")))
        shown = documents.around({"text": text, "version": 1}, place)
        at = text.index("".join(run.text for run in shown.runs))
        assert at <= len(seen)  # no gap
        seen = text[: at + sum(len(run.text) for run in shown.runs)]
    assert seen == text


def test_a_document_without_text_is_not_found() -> None:
    with pytest.raises(NotFound, match="not there yet"):
        documents.around({"version": 1, "status": "pending"}, Place("d"))


@pytest.mark.parametrize("named", [{}, {"id": ""}, {"id": "x" * 513}])
def test_a_place_needs_a_document(named: dict[str, str]) -> None:
    with pytest.raises(NotFound):
        documents.place(named)


def test_a_place_takes_no_nonsense_for_an_offset() -> None:
    assert documents.place({"id": "d", "start": "-1", "end": "x", "at": "９"}) == Place("d")
