"""Marked words: whatever the ranges, no character is lost, doubled or moved."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from functions.ingress.web import marks
from functions.ingress.web.marks import Piece, Run

TEXT = st.text(alphabet=st.sampled_from("ab é🎭\n<&"), max_size=60)
RANGES = st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70)), max_size=6)


@given(TEXT, RANGES)
def test_runs_are_the_text_and_mark_exactly_the_ranges(text: str, ranges: list[tuple[int, int]]) -> None:
    found = marks.runs(text, ranges)

    assert "".join(run.text for run in found) == text
    wanted = [any(start <= at < end for start, end in ranges) for at in range(len(text))]
    assert [run.marked for run in found for _ in run.text] == wanted
    assert all(run.text for run in found)
    assert all(one.marked != other.marked for one, other in pairwise(found))


@given(st.text(alphabet=st.sampled_from("ab \n🎭"), max_size=900), RANGES, st.integers(20, 400))
def test_an_excerpt_is_a_part_of_the_text_with_its_first_mark(
    text: str, ranges: list[tuple[int, int]], limit: int
) -> None:
    cut = marks.excerpt(text, ranges, limit)
    shown = "".join(run.text for run in cut.runs)

    assert shown in text
    assert len(shown) <= limit + 80
    assert cut.before == (not text.startswith(shown)) or shown == ""
    marked = marks.merged(ranges, len(text))
    if marked and text:
        assert any(run.marked for run in cut.runs)


def test_an_excerpt_cuts_between_words() -> None:
    text = "one two three " * 40 + "needle" + " four five" * 60
    at = text.index("needle")

    cut = marks.excerpt(text, [(at, at + 6)], 100)

    shown = "".join(run.text for run in cut.runs)
    assert cut.before
    assert cut.after
    assert Run("needle", marked=True) in cut.runs
    assert {word for word in shown.split() if word not in ("one", "two", "three", "four", "five", "needle")} == set()


PLACES = st.lists(st.tuples(st.integers(-3, 70), st.integers(-3, 70)), max_size=5)


@given(TEXT, PLACES)
def test_a_cited_answer_keeps_its_text_and_names_each_citation_once(text: str, places: list[tuple[int, int]]) -> None:
    citations = [{"answer_start": start, "answer_end": end} for start, end in places]

    pieces = marks.cited(text, citations)

    assert "".join(piece.text for piece in pieces) == text
    named = [index for piece in pieces for index in piece.after]
    assert sorted(named) == list(range(len(places)))


@given(TEXT, PLACES)
def test_a_citation_follows_the_words_it_ends_with(text: str, places: list[tuple[int, int]]) -> None:
    citations = [{"answer_start": start, "answer_end": end} for start, end in places]

    done = 0
    for piece in marks.cited(text, citations):
        done += len(piece.text)
        for index in piece.after:
            assert done == min(max(places[index][1], 0), len(text))


def test_offsets_count_code_points() -> None:
    answer = "🎭 To be 🎭 or not"
    citation = {"answer_start": 2, "answer_end": 7}

    assert marks.cited(answer, [citation]) == (Piece("🎭 "), Piece("To be", True, (0,)), Piece(" 🎭 or not"))


def test_an_answer_without_citations_is_one_piece() -> None:
    assert marks.cited("Nothing cited.", []) == (Piece("Nothing cited."),)
