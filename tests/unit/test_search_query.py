"""Queries: what was typed, parted into words and phrases, and the lookups that find it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.query import MOST_TERMS, Query, Term, longest_piece, parse, question
from knts.lookup import LONGEST_BEGINNING, MOST_IN_PHRASE, Lookup

CITING = ("nine", "words", "cite", "and", "do", "not", "demand", "to", "be", "there")


@pytest.mark.parametrize(
    ("text", "words", "phrases", "typing"),
    [
        ("slings arr", ("slings", "arr"), (), True),
        ("slings arr ", ("slings", "arr"), (), False),
        ("slings?", ("slings",), (), False),
        ('"To be" arr', ("arr",), (("to", "be"),), True),
        ("“To be” or „not“", ("or",), (("to", "be"), ("not",)), False),
        ('"to be or', ("to", "be", "or"), (), True),
        ('"" !', (), (), False),
        ('nine words "cite" and do not demand to be there', CITING, (), True),
        ("Ünïted", ("united",), (), True),
    ],
)  # fmt: skip
def test_words_phrases_and_what_is_still_typed(text: str, words: tuple, phrases: tuple, typing: bool) -> None:
    query = parse(text)
    assert (query.words, query.phrases, query.typing) == (words, phrases, typing)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "browse"),
        (" \n", "browse"),
        ("!!!", "nothing"),
        ("yorick", "plain"),
        ("alas poor yorick", "plain"),
        ("alas poor yorick horatio", "loose"),
        ("the yorick", "loose"),
        ("to be or not to be", "plain"),
        ('"alas poor"', "plain"),
    ],
)
def test_the_form_of_a_query(text: str, form: str) -> None:
    assert parse(text).form == form


def test_a_question_quotes_nothing_and_is_complete() -> None:
    assert question('Who says "to be"?') == Query(("who", "says", "to", "be"))
    assert question("Who is Hamlet").terms == (Term("hamlet"),)


def test_stop_words_count_where_there_is_nothing_else() -> None:
    assert [term.form for term in parse("who is the king of flowers").terms] == ["king", "flowers"]
    assert [term.form for term in parse("to be or not to be").terms] == ["to", "be", "or", "not"]
    assert [term.form for term in parse('"to be"').terms] == ["to", "be"]


def test_words_of_one_stem_are_one_term() -> None:
    assert [term.form for term in question("flow flows flowing plate").terms] == ["flowing", "plate"]


def test_a_term_is_looked_up_by_what_its_family_begins_with() -> None:
    assert Term("studies").lookup() == Lookup(beginning="stud")
    assert Term("gas").lookup(size=5) == Lookup(("gas",), size=5)
    assert Term("ga", open=True).lookup() == Lookup(beginning="ga")
    assert Term("internationalization").lookup() == Lookup(beginning="internat")


def test_the_whole_query_keeps_its_order_and_leaves_the_last_word_open() -> None:
    assert parse("slings and arr").whole() == Lookup(("slings", "and"), beginning="arr")
    assert parse("slings and arrows ").whole(page=2, size=3) == Lookup(("slings", "and", "arrows"), page=2, size=3)
    assert parse("outrageously").whole() == Lookup(("outrageously",))
    assert parse("to be or not to be that is the quest").whole() == Lookup((), ("to", "be", "or", "not", "to"), "quest")
    assert parse('"slings and" arr').whole() == Lookup((), ("slings", "and"), "arr")


def test_misspelt_words_are_ranked_by_what_they_may_stand_for() -> None:
    spelt = Query(("the", "arows"), spellings=((Term("arrows", typed="arows", away=1),),))
    assert spelt.groups == spelt.spellings
    assert spelt.together(9) == Lookup()


@given(st.text(max_size=200))
def test_any_text_makes_lookups_that_are_allowed(text: str) -> None:
    query = parse(text)
    for lookup in (query.whole(), query.together(1), *(term.lookup(query.phrase) for term in query.terms)):
        assert len(lookup.beginning) <= LONGEST_BEGINNING
        assert all(word.isalnum() for word in (*lookup.words, lookup.beginning or "a", *lookup.phrase))
    assert len(query.terms) <= MOST_TERMS


@given(st.text(min_size=LONGEST_BEGINNING + 1))
def test_a_longer_beginning_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        Lookup(beginning=text)


@pytest.mark.parametrize("phrase", [("a",), tuple("abcdef")])
def test_a_phrase_that_finds_anything_is_refused(phrase: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="phrase"):
        Lookup(phrase=phrase)


@pytest.mark.parametrize(
    ("typed", "looked_up", "certain"),
    [
        ('"poor yorick"', Lookup((), ("poor", "yorick")), True),
        ('"slings and arrows"', Lookup((), ("slings", "and", "arrows")), False),
        ('"hamlet" yorick ', Lookup(("hamlet", "yorick")), True),
        ('"to be or not to be"', Lookup((), ("to", "be", "or", "not", "to")), False),
        ('"poor yorick" "fellow of infinite jest"', Lookup((), ("fellow", "of", "infinite", "jest")), False),
        ('"no no"', Lookup((), ("no", "no")), True),
    ],
)
def test_what_is_quoted_is_looked_up_by_one_piece_and_demanded_as_a_whole(
    typed: str, looked_up: Lookup, certain: bool
) -> None:
    query = parse(typed)
    assert (query.whole(), query.certain) == (looked_up, certain)


def test_demands_are_met_by_any_of_the_texts() -> None:
    query = parse('"to be" "no no"')
    assert query.demands(["or", "to", "be"], ["no", "no", "no"])
    assert not query.demands(["to", "or", "be"], ["no", "no"])


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), max_size=3))
def test_the_longest_phrase_is_looked_up_as_far_as_a_lookup_takes_it(phrases: list[list[str]]) -> None:
    found = longest_piece(phrases)
    longest = max((phrase for phrase in phrases if len(phrase) > 1), key=len, default=[])
    assert list(found) == longest[:MOST_IN_PHRASE]


def test_more_words_than_a_filter_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="words"):
        Lookup(("a", "b", "c", "d", "e"))
