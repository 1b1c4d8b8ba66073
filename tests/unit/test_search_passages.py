"""The passages of an answer, and the body of a result."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.facets import MOST_VALUES, counted, shown
from functions.search.passages import WIDEST, Passage, choose, follows, joined, passage, repeats
from functions.search.query import parse
from functions.search.ranking import Ranked
from functions.search.result import body
from functions.search.retrieval import Page, Wanted
from knts import schemas
from knts.answer_keys import evidence_of
from tests.searching import chunk, chunks_of, document

TEXT = "the keeper of the lighthouse climbs the stairs each night to light the lamp"


def ranked(*texts: str) -> list[Ranked]:
    return [Ranked(chunk(f"d{number}", text), 9.0 - number) for number, text in enumerate(texts)]


def ids(chosen: list[Passage]) -> list[str]:
    return [each.chunks[0].document_id for each in chosen]


def test_the_best_passages_are_chosen_without_repetitions() -> None:
    hits = ranked(TEXT, TEXT.upper() + "!", "something else", TEXT + " again", "and a third", TEXT[:60], "nobody")
    assert ids(choose(hits, 4)) == ["d0", "d2", "d4", "d6"]


def test_fewer_hits_give_fewer_passages() -> None:
    assert choose([], 4) == []


def test_the_passage_likest_the_question_is_chosen_in_the_last_place_whatever_its_words() -> None:
    hits = ranked("one", "two", "three", "four", "five")
    hits = [replace(hit, likeness=likeness) for hit, likeness in zip(hits, (0.2, 0.3, None, 0.9, 0.4), strict=True)]
    assert ids(choose(hits, 3)) == ["d0", "d1", "d3"]
    assert ids(choose(hits, 4)) == ["d0", "d1", "d2", "d3"]
    assert ids(choose(hits, 1)) == ["d0"]


def test_where_a_better_passage_says_the_same_the_likest_takes_no_place() -> None:
    hits = [*ranked(TEXT, "two", "three"), replace(ranked(TEXT)[0], likeness=0.9)]
    assert ids(choose(hits, 3)) == ["d0", "d1", "d2"]


def test_overlapping_places_of_one_document_repeat_each_other() -> None:
    assert repeats(chunk("d", "one text"), chunk("d", "another text of it"))
    assert not repeats(chunk("d", "one text"), chunk("e", "another text of it"))


@given(
    st.lists(
        st.tuples(st.sampled_from([TEXT, TEXT + " again", "x", "y", ""]), st.none() | st.floats(-1, 1)), max_size=8
    ),
    st.integers(1, 5),
)
def test_no_two_chosen_passages_say_the_same(hits: list[tuple[str, float | None]], most: int) -> None:
    found = zip(ranked(*(text for text, _ in hits)), hits, strict=True)
    chosen = choose([replace(hit, likeness=likeness) for hit, (_, likeness) in found], most)
    assert len(chosen) <= most
    assert not any(
        repeats(one.chunks[0], better.chunks[0]) for at, one in enumerate(chosen[:-1]) for better in chosen[:at]
    )


@pytest.mark.parametrize(
    ("one", "better", "same"),
    [
        (TEXT, TEXT + " again", True),
        (TEXT + " again", TEXT, True),
        ("the keeper of the lighthouse climbs the stairs", TEXT, True),
        ("the lamp", TEXT, False),
        (TEXT + " and a storm carried the boats away and nobody came back", TEXT, False),
        ("lamp the", TEXT, False),
        (TEXT + " at 6", TEXT + " at 7", False),
        ("", TEXT, False),
        ("", "", True),
    ],
)
def test_what_says_nothing_more_repeats_and_what_has_another_number_does_not(
    one: str, better: str, *, same: bool
) -> None:
    assert repeats(chunk("d", one), chunk("e", better)) is same


@given(st.lists(st.sampled_from([TEXT, TEXT + " again", TEXT + " at 6", "lamp", "x", "y", ""]), max_size=8))
def test_no_chosen_passage_says_what_a_better_one_does_and_all_that_is_left_out_does(texts: list[str]) -> None:
    hits = ranked(*texts)
    chosen = [each.chunks[0] for each in choose(hits, 20)]
    assert not any(repeats(one, better) for at, one in enumerate(chosen) for better in chosen[:at])
    assert all(hit.chunk in chosen or any(repeats(hit.chunk, each) for each in chosen) for hit in hits)
    assert choose(hits, 2) == choose(hits, 20)[:2]


PARAGRAPHS = ("word " * 150, "a short one.", "# Heading", "## Other", "```\n# code\n```", "ä. " * 300, "語。" * 400)


@given(st.lists(st.sampled_from(PARAGRAPHS)), st.data())
def test_neighbours_are_joined_to_the_documents_own_text_within_a_section(some: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["\n\n", "\n\n \n\t\n"])).join(some)
    middle = data.draw(st.integers(0, len(text)))
    parts = [{"start": 0, "end": middle, "title": "One"}, {"start": middle, "end": len(text), "title": "One"}]
    sections = data.draw(st.sampled_from([[], parts]))
    every = chunks_of(document("d", text, sections=sections))
    taken = data.draw(st.lists(st.sampled_from(every), unique_by=lambda each: each.number))
    hits = [Ranked(each, 9.0 - at) for at, each in enumerate(taken)]
    found = joined(hits)

    for each in found:
        assert each.text == text[each.start : each.end]
        assert all(one.continues for one in each.chunks[1:])
        assert not (sections and each.start < middle < each.end)
        assert each.score == max(hit.score for hit in hits if hit.chunk in each.chunks)
    evidence = evidence_of(passage(each) for each in found)
    assert sorted(evidence) == sorted((each.document_id, each.version, each.number) for each in taken)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert not any(follows(one.chunks[-1], other.chunks[0]) for one in found for other in found)


def test_neighbours_of_one_section_are_one_passage_in_the_place_of_the_better_one() -> None:
    text = "\n\n".join([*(f"Paragraph {number}. " + "word " * 170 for number in range(4)), "# Other", "word " * 170])
    every = chunks_of(document("d", text))
    assert [each.continues for each in every] == [False, True, True, True, False]
    other = Ranked(chunk("e", "the light"), 8.0)
    hits = [Ranked(every[2], 9.0), other, Ranked(every[4], 7.0), Ranked(every[3], 6.0), Ranked(every[0], 5.0)]
    found = choose(hits, 5)
    assert [[each.number for each in one.chunks] for one in found] == [[2, 3], [0], [4], [0]]
    assert found[0].text == text[every[2].start : every[3].end]
    assert {name: passage(found[0])[name] for name in ("chunk", "last_chunk", "score")} == {
        "chunk": 2, "last_chunk": 3, "score": 9.0,
    }  # fmt: skip
    assert "last_chunk" not in passage(found[1])


def test_chunks_are_not_joined_where_what_stands_between_them_is_not_known() -> None:
    one, other = chunks_of(document("d", "word " * 170 + " " * 150 + "word " * 170))
    assert follows(one, other)
    for unknown in (
        replace(other, lead=None, continues=False),  # written by an earlier version
        replace(other, lead=None),
        replace(other, version=2),
        replace(other, document_id="e"),
        replace(other, lead=" " * (WIDEST + 1), start=one.end + WIDEST + 1),
    ):
        assert not follows(one, unknown)
        assert len(joined([Ranked(one, 2.0), Ranked(unknown, 1.0)])) == 2


def test_a_passage_is_what_its_event_allows() -> None:
    both = [Ranked(each, 1.0) for each in chunks_of(document("d", "word " * 400))]
    likened = [replace(ranked(TEXT)[0], likeness=0.4, embedded_by="m")]
    embedded = [replace(ranked(TEXT)[0], embedded_by="m")]
    data: dict[str, Any] = {
        "request": {"question": "?", "groups": []},
        "passages": [passage(each) for hits in (ranked(TEXT), likened, embedded, both) for each in choose(hits, 4)],
        "index_token": "x",
        "search_ms": 1.5,
    }
    assert schemas.faults("knts.passages.found.v1", data) == []
    told = [(each.get("likeness"), each.get("embedded_by")) for each in data["passages"]]
    assert told == [(None, None), (0.4, "m"), (None, "m"), (None, None)]


def test_the_body_holds_what_clients_rely_on() -> None:
    hit = Ranked(chunk("d", TEXT, title="Light", section="I", tags="sea", place="Ouessant"), 2.5)
    page = Page(parse("keeper"), 7, 0, [hit], {"tags": (("sea", 3),)}, {"keper": "keeper"})
    assert body("keper", page, Wanted(2, 1, ("tags",)), 12.345) == {
        "query": "keper",
        "found": 7,
        "limit": 1,
        "offset": 2,
        "took_ms": 12.3,
        "hits": [
            {
                "document_id": "d",
                "version": 1,
                "title": "Light",
                "url": None,
                "section": "I",
                "tags": ["sea"],
                "metadata": {"tags": ("sea",), "place": ("Ouessant",)},
                "score": 2.5,
                "passage": {"start": 0, "end": len(TEXT), "text": TEXT},
                "highlights": [[4, 10]],
            }
        ],
        "facets": {"tags": [{"value": "sea", "count": 3}]},
        "spelling": {"keper": "keeper"},
    }


def test_facets_tell_the_most_frequent_values_equal_ones_in_order() -> None:
    chunks = [chunk(f"d{number}", "", kind=f"k{number // 2:03}") for number in range(3 * MOST_VALUES, 0, -1)]
    facets = counted(["kind", "none"], chunks)
    assert facets["none"] == ()
    assert len(facets["kind"]) == MOST_VALUES
    assert shown(facets)["kind"][0] == {"value": "k001", "count": 2}
