"""The passages of an answer, and the body of a result."""

from hypothesis import given
from hypothesis import strategies as st

from functions.search.facets import MOST_VALUES, counted, shown
from functions.search.passages import choose, passage, repeats
from functions.search.query import parse
from functions.search.ranking import Ranked
from functions.search.result import body
from functions.search.retrieval import Page, Wanted
from knts import schemas
from tests.searching import chunk

TEXT = "the keeper of the lighthouse climbs the stairs each night to light the lamp"


def ranked(*texts: str) -> list[Ranked]:
    return [Ranked(chunk(f"d{number}", text), 9.0 - number) for number, text in enumerate(texts)]


def test_the_best_passages_are_chosen_without_repetitions() -> None:
    hits = ranked(TEXT, TEXT.upper() + "!", "something else", TEXT + " again", "and a third")
    assert [each.chunk.document_id for each in choose(hits, 3)] == ["d0", "d2", "d4"]


def test_fewer_hits_give_fewer_passages() -> None:
    assert choose([], 4) == []


def test_overlapping_places_of_one_document_repeat_each_other() -> None:
    assert repeats(chunk("d", "one text"), chunk("d", "another text of it"))
    assert not repeats(chunk("d", "one text"), chunk("e", "another text of it"))


@given(st.lists(st.sampled_from([TEXT, TEXT + " again", "x", "y", ""]), max_size=8), st.integers(1, 5))
def test_no_two_chosen_passages_say_the_same(texts: list[str], most: int) -> None:
    chosen = choose(ranked(*texts), most)
    assert len(chosen) <= most
    assert not any(repeats(a.chunk, b.chunk) for at, a in enumerate(chosen) for b in chosen[:at])


def test_a_passage_is_what_its_event_allows() -> None:
    data = {
        "request": {"question": "?", "groups": []},
        "passages": [passage(ranked(TEXT)[0])],
        "index_token": "x",
        "search_ms": 1.5,
    }
    assert schemas.faults("knts.passages.found.v1", data) == []


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
