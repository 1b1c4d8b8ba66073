"""Retrieval over an index in memory: what is found, in which order, in pages, and only what is current."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.query import parse
from functions.search.retrieval import ENOUGH, WINDOW, Page, Wanted, find
from knts.lookup import Chunk, Scope
from tests.searching import SCOPE, FakeIndex, ScriptedVersions, chunk

SPEECH = "To be, or not to be: that is the question: the slings and arrows of outrageous fortune"
PLAYS = [
    chunk("hamlet", SPEECH, 0, speaker="Hamlet", play="Hamlet"),
    chunk("hamlet", "Alas, poor Yorick! I knew him, Horatio", 1, speaker="Hamlet", play="Hamlet"),
    chunk("hamlet", "Where is Polonius?", 2, speaker="Claudius", play="Hamlet"),
    chunk("lear", "My boy grows and sings of York", 0, speaker="Fool", play="Lear"),
    chunk("lear", "Fortune, good night; smile once more, turn thy wheel", 1, speaker="Kent", play="Lear"),
]
MANY = [chunk(f"d{number:03}", f"common word {number}", parity=str(number % 2)) for number in range(3 * WINDOW)]


async def found(text: str, chunks: list[Chunk] | None = None, scope: Scope = SCOPE, **wanted: Any) -> Page:
    return await find(FakeIndex(chunks or PLAYS), ScriptedVersions(), scope, parse(text), Wanted(**wanted))


def texts(page: Page) -> list[str]:
    return [hit.chunk.text for hit in page.hits]


@pytest.mark.parametrize(
    "typed",
    ["slings and arrows", "the slngs and arows of outrageous fortune", "to be or nott to be that is the questin",
     '"to be or not to be"', "what are the arrows of outrageous fortune?", "outragous", "slings arr", "qestoin"],
)  # fmt: skip
async def test_a_speech_is_found_by_its_words_its_beginnings_and_in_spite_of_typos(typed: str) -> None:
    assert texts(await found(typed))[0] == SPEECH


async def test_a_misspelt_word_is_told_by_what_the_best_hit_has() -> None:
    page = await found("the slngs and arows of fortune")
    assert page.spelling == {"slngs": "slings", "arows": "arrows"}
    assert (await found("slings and arrows")).spelling == {}


async def test_what_is_quoted_is_meant_as_it_stands() -> None:
    assert (await found('"slngs and arrows"')).found == 0
    assert (await found('"arrows and slings"')).found == 0


async def test_nothing_typed_browses_and_nothing_readable_finds_nothing() -> None:
    browsed = await found("", facets=("play", "speaker", "nope"))
    assert browsed.found == len(PLAYS)
    assert browsed.facets == {
        "play": (("Hamlet", 3), ("Lear", 2)),
        "speaker": (("Hamlet", 2), ("Claudius", 1), ("Fool", 1), ("Kent", 1)),
        "nope": (),
    }
    nothing = await found("?!", facets=("play",))
    assert (nothing.found, nothing.hits, nothing.facets) == (0, (), {"play": ()})
    assert (await found("zzz")).found == 0


async def test_filters_narrow_hits_counts_and_facets() -> None:
    scope = Scope("t", (), {"play": ("Lear",), "speaker": ("Kent", "Fool")})
    page = await found("fortune", scope=scope, facets=("speaker",))
    assert (page.found, page.facets) == (1, {"speaker": (("Kent", 1),)})


async def test_pages_of_a_common_word_never_overlap_and_together_are_everything() -> None:
    seen: list[str] = []
    for offset in range(0, len(MANY), 50):
        page = await found("common", MANY, offset=offset, limit=50)
        assert page.found == len(MANY)
        seen += [hit.chunk.document_id for hit in page.hits]
    assert sorted(seen) == [each.document_id for each in MANY]


async def test_beyond_the_last_hit_there_is_nothing() -> None:
    page = await found("common", MANY, offset=len(MANY), limit=10, facets=("parity",))
    assert (page.found, page.hits) == (len(MANY), [])
    assert page.facets == {"parity": (("0", len(MANY) // 2), ("1", len(MANY) // 2))}


async def test_a_loose_query_tells_as_many_as_can_be_paged_through() -> None:
    page = await found("a common thing", MANY, offset=WINDOW - 5, limit=50)
    assert page.found == WINDOW
    assert len(page.hits) == 5


async def test_few_exact_hits_are_followed_by_partial_ones() -> None:
    assert len(PLAYS) < ENOUGH
    assert texts(await found("outrageous fortune ")) == [SPEECH, PLAYS[4].text]


async def test_replaced_and_removed_versions_are_dropped_and_the_page_filled_up() -> None:
    versions = ScriptedVersions({"d000": 2, "d001": None, **{f"d{number:03}": None for number in range(20, 60)}})
    page = await find(FakeIndex(MANY), versions, SCOPE, parse("common word"), Wanted(limit=WINDOW - 50))
    shown = {hit.chunk.document_id for hit in page.hits}
    assert not shown & {"d000", "d001", "d020", "d059"}
    assert page.found == len(MANY) - (WINDOW - len(await _live(versions)))
    assert len(page.hits) == min(WINDOW - 50, len(await _live(versions)))


async def _live(versions: ScriptedVersions) -> list[str]:
    first = [each.document_id for each in MANY[:WINDOW]]
    return [each for each, version in (await versions.current("t", first)).items() if version == 1]


async def test_what_others_may_read_is_not_found() -> None:
    index = FakeIndex(PLAYS, {PLAYS[0].id: ["royals"]})
    for groups, count in (((), 0), (("clowns",), 0), (("royals",), 1)):
        page = await find(index, ScriptedVersions(), Scope("t", groups), parse('"slings"'), Wanted())
        assert page.found == count


@given(
    st.lists(st.text(alphabet="ab ", max_size=12), max_size=12),
    st.text(alphabet='abc "', max_size=10),
    st.integers(0, 6),
    st.integers(1, 6),
)
async def test_a_page_is_a_slice_of_all_hits(held: list[str], typed: str, offset: int, limit: int) -> None:
    chunks = [chunk(f"d{number}", text, kind=text[:1]) for number, text in enumerate(held)]
    index, versions = FakeIndex(chunks), ScriptedVersions()
    everything = await find(index, versions, SCOPE, parse(typed), Wanted(0, 100, ("kind",)))
    page = await find(index, versions, SCOPE, parse(typed), Wanted(offset, limit, ("kind",)))
    assert list(page.hits) == list(everything.hits)[offset : offset + limit]
    assert (page.found, page.facets) == (everything.found, everything.facets)
    assert everything.found == len(everything.hits)
