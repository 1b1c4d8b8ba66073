"""Chunking: borders where a reader would put them, and offsets that are always exact."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.index_document.chunking import MAX, Passage, Section, leads, passages, regions
from knts.errors import Permanent

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank. "  # 65 characters
PIECES = "a|word|end. |end? |e.g. |\n|\n\n|\r\n| |\t|# Title\n|```\n|~~~\n|"
PIECES += "- item\n|。|é|e\u0301|😀|“quoted.” |\u00a0|\u2028|1. one\n|> x\n"
WORDS = st.sampled_from([*PIECES.split("|"), "| a | b |\n", "x" * 500])
TEXTS = st.one_of(st.text(max_size=300), st.lists(WORDS, max_size=120).map("".join))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[Section]]:
    """A text and sections that keep the rules."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return text, [
        Section(start, end, f"s{number}", {"n": number})
        for number, (start, end) in enumerate(pairwise(cuts))
        if draw(st.booleans())
    ]


def cut(text: str, sections: list[Section] | None = None) -> list[str]:
    return [text[passage.start : passage.end] for passage in passages(text, sections or [])]


@given(documents())
def test_passages_and_their_leads_rebuild_the_text(document: tuple[str, list[Section]]) -> None:
    text, sections = document
    found = passages(text, sections)
    before, tail = leads(text, found)
    rebuilt = "".join(lead + text[passage.start : passage.end] for lead, passage in zip(before, found, strict=True))
    assert rebuilt + tail == text
    assert not "".join([*before, tail]).strip(), "only white space is left out"


@given(documents())
def test_passages_are_ordered_trimmed_and_bounded(document: tuple[str, list[Section]]) -> None:
    text, sections = document
    found = passages(text, sections)
    assert all(one.end <= other.start for one, other in pairwise(found))
    for passage in found:
        words = text[passage.start : passage.end]
        assert len(words) <= MAX
        assert words == words.strip()
        assert words or not text.strip()


@given(documents())
def test_no_passage_crosses_a_section_and_each_has_what_its_section_says(document: tuple[str, list[Section]]) -> None:
    text, sections = document
    for passage in passages(text, sections):
        around = [one for one in sections if one.start < passage.end and passage.start < one.end]
        if around:
            assert around[0].start <= passage.start <= passage.end <= around[0].end
            assert (passage.title, passage.metadata) == (around[0].title, around[0].metadata)
        else:
            assert passage.metadata == {}
    inside = {passage.metadata["n"] for passage in passages(text, sections) if passage.metadata}
    assert inside == {one.metadata["n"] for one in sections if one.metadata and text[one.start : one.end].strip()}


@given(documents())
def test_regions_are_the_text_end_to_end(document: tuple[str, list[Section]]) -> None:
    text, sections = document
    found = list(regions(len(text), sections))
    assert "".join(text[one.start : one.end] for one in found) == text
    assert [one for one in found if one.metadata is not None] == sections


def test_short_paragraphs_are_joined_and_long_ones_are_not() -> None:
    short = "\n\n".join(["A short paragraph."] * 5)
    assert cut(short) == [short]
    long = "\n\n".join([SENTENCE * 12, SENTENCE * 13])
    assert [len(one) for one in cut(long)] == [12 * 65 - 1, 13 * 65 - 1]


def test_a_long_paragraph_is_cut_after_sentences() -> None:
    found = cut(SENTENCE * 40)
    assert len(found) == 3, "a last sentence alone is no passage"
    assert all(one.startswith("The") and one.endswith("bank.") for one in found)


def test_abbreviations_and_quotes_are_no_sentence_ends() -> None:
    text = ("He said “stop.” Then, e.g. on roads (see ch. two), cars did. " * 40).strip()
    assert all(one.startswith(("He", "Then")) for one in cut(text))


def test_headings_begin_passages_and_name_them() -> None:
    text = f"Before.\n\n# One\n\n{SENTENCE}\n\n## Two ##\n### Three\n{SENTENCE * 25}\n# Four"
    found = passages(text)
    assert [passage.title for passage in found] == ["", "One", "Three", "Three", "Four"]
    assert text[found[1].start : found[1].end] == f"# One\n\n{SENTENCE.strip()}"
    assert text[found[2].start : found[2].end].startswith("## Two ##\n### Three\nThe quick")
    assert cut("#hashtag and\n#another") == ["#hashtag and\n#another"]


def test_a_passage_continues_the_one_before_it_unless_a_heading_or_a_section_stands_between() -> None:
    code = "```\n" + "# no heading\n" * 200 + "```\n\n"
    text = f"# One\n\n{SENTENCE * 30}\n\n{code}# One\n\n{SENTENCE * 20}"
    found = passages(text)
    headed = [text[each.start :].startswith("# One") for each in found]
    assert [each.continues for each in found] == [not each for each in headed]
    assert sum(headed) == 2
    assert any(text[each.start :].startswith("# no heading") for each in found)
    middle = found[1].start
    apart = passages(text, [Section(0, middle), Section(middle, len(text))])
    assert [each.continues for each in apart if each.start == middle] == [False]


def test_a_heading_stays_with_the_beginning_of_a_long_paragraph() -> None:
    assert all(len(one) > 100 for one in cut("# Heading\n\n" + SENTENCE * 30))


def test_a_short_rest_joins_what_is_before_it() -> None:
    assert len(cut(SENTENCE * 13 + "The end.\n\nFin.")) == 1


@pytest.mark.parametrize("fence", ["```", "~~~~", "  ```python"])
def test_fences_are_kept_whole_or_cut_between_lines(fence: str) -> None:
    close = fence.strip().removesuffix("python")
    code = f"{fence}\n# no heading\n\nx = 1\n{close}"
    text = f"{SENTENCE * 10}\n\n{code}\n\n{SENTENCE * 10}"
    assert sum(code.strip() in one for one in cut(text)) == 1
    lines = [f"value_{number} = compute. Then({number})" for number in range(200)]
    big = "\n".join([fence, *lines, close])
    assert [line for one in cut(big) for line in one.split("\n")] == [fence.strip(), *lines, close]


def test_a_table_is_cut_between_rows_only() -> None:
    rows = [f"| {number} | What is it? It is a cell. | yes |" for number in range(100)]
    assert [row for one in cut("\n".join(rows)) for row in one.split("\n")] == rows


def test_list_items_are_borders() -> None:
    items = [f"- item {number} of a list without full stops that goes on for a while" for number in range(60)]
    assert all(one.startswith("- item") for one in cut("\n".join(items)))


def test_what_has_no_borders_is_cut_anyway() -> None:
    assert [len(one) for one in cut("x" * 2000)] == [900, 900, 200]
    assert "".join(cut("😀" * 5000)) == "😀" * 5000
    assert all(one.endswith("。") for one in cut("日本語の文です。" * 500))


def test_each_speech_of_a_play_is_a_passage() -> None:
    line = "To be, or not to be: that is the question:\n"
    sections = [Section(at * len(line), (at + 1) * len(line), metadata={"speaker": f"S{at}"}) for at in range(1000)]
    found = passages(line * 1000, sections)
    assert [passage.metadata["speaker"] for passage in found] == [f"S{at}" for at in range(1000)]
    assert {passage.end - passage.start for passage in found} == {len(line) - 1}


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u2003"])
def test_a_blank_text_has_one_empty_passage(text: str) -> None:
    assert passages(text) == [Passage(0, 0, "", {})]
    assert leads(text, passages(text)) == ([""], text)


@pytest.mark.parametrize(
    ("sections", "field", "rule"),
    [
        ([Section(0, 11)], "sections.0.end", "must be at most 10"),
        ([Section(5, 4)], "sections.0.end", "must be at least its start, 5"),
        ([Section(0, 4), Section(3, 6)], "sections.1.start", "must be at least 4"),
        ([Section(4, 6), Section(0, 2)], "sections.1.start", "must be at least 6"),
        ([Section(11, 12)], "sections.0.end", "must be at most 10"),
    ],
)
def test_bad_sections_are_refused_by_name(sections: list[Section], field: str, rule: str) -> None:
    with pytest.raises(Permanent) as refusal:
        passages("0123456789", sections)
    assert refusal.value.errors[0]["field"] == field
    assert refusal.value.errors[0]["rule"].startswith(rule)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000,
        "." * 200_000,
        "." + '"' * 200_000,
        "a. b" * 50_000,
        "```\n" * 50_000,
        "。" * 200_000,
        " # " * 60_000,
    ],
    ids=["lines", "stops", "quotes", "sentences", "fences", "wide stops", "hashes"],
)
@pytest.mark.timeout(20)
def test_hostile_texts_are_cut_in_linear_time(text: str) -> None:
    assert all(passage.end - passage.start <= MAX for passage in passages(text))
