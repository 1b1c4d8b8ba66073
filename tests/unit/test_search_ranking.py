"""Ranking: what makes a passage come before another."""

from hypothesis import given
from hypothesis import strategies as st

from functions.search.query import Query, Term, question
from functions.search.ranking import Matcher, most_promising, rank, rarity, weights_of
from functions.search.ranking import trigrams as threes
from tests.searching import chunk


def order(text: str, *passages: str, counts: dict[str, int] | None = None, titles: tuple[str, ...] = ()) -> list[int]:
    """The numbers of the passages, best first, for words that are equally rare unless `counts` says otherwise."""
    query = question(text)
    weights = weights_of({term: (counts or {}).get(term.form, 5) for term in query.terms}, 1000)
    named = titles or ("",) * len(passages)
    found = [chunk("d", passage, number, title=named[number]) for number, passage in enumerate(passages)]
    return [each.chunk.number for each in rank(query, weights, found)]


def test_a_passage_with_more_of_the_words_comes_first() -> None:
    assert order("shock wave boundary", "wave of joy today", "shock and wave seen", "boundary shock wave") == [2, 1, 0]


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    counts = {"flow": 600, "hypersonic": 2}
    assert order("hypersonic flow", "flow flow of air", "hypersonic air is hot", counts=counts) == [1, 0]


def test_all_forms_of_a_word_count() -> None:
    assert order("studies of flowing", "nothing of that kind", "he studied how it flows") == [1, 0]


def test_a_word_said_again_and_again_gains_less_each_time() -> None:
    often = "wing " * 30
    assert order("swept wing", often, "swept wing") == [1, 0]


def test_of_equal_passages_the_shorter_one_comes_first_but_not_for_being_a_stub() -> None:
    long = "wing " + "and more of it " * 40
    assert order("wing", long, "a wing stands here with some words") == [1, 0]
    scores = [
        each.score for each in rank(question("wing"), {Term("wing"): 1.0}, [chunk("d", "wing"), chunk("e", long)])
    ]
    assert scores[0] < 3 * scores[1]


def test_words_side_by_side_beat_words_apart() -> None:
    apart = "boundary of the land and of the sea is not a layer"
    assert order("boundary layer", apart, "of the land and of the sea is a boundary layer") == [1, 0]


def test_a_sentence_as_it_was_typed_beats_its_words_in_another_order() -> None:
    said = "that is the question to be or not to be"
    assert order("to be or not to be that is the question", "the question is not that", said) == [1, 0]


def test_a_title_counts() -> None:
    assert order("hamlet dies", "he dies now", "he dies now", titles=("Lear", "Hamlet")) == [1, 0]


def test_the_best_spelling_counts_once() -> None:
    group = (Term("arrows", typed="arows", away=1), Term("grows", typed="arows", away=1))
    query = Query(("slings", "arows"), spellings=(group,))
    weights = weights_of({Term("slings"): 2, group[0]: 5, group[1]: 50}, 1000)
    both = [
        chunk("d", "grows", 0),
        chunk("d", "arrows", 1),
        chunk("d", "arrows grows", 2),
        chunk("d", "slings arrows", 3),
    ]
    ranked = rank(query, weights, both)
    assert ranked[0].chunk.number == 3
    assert [each.score for each in ranked if each.chunk.number == 2] < [each.score for each in ranked[:1]]
    assert weights[group[0]] > weights[group[1]]


def test_threes_are_built_from_every_spelling() -> None:
    group = (Term("not", typed="nott", away=1), Term("note", typed="nott", away=1))
    assert threes(Query(("or", "nott", "to"), spellings=(group,))) == {("or", "not", "to"), ("or", "note", "to")}


def test_equal_passages_stand_in_the_order_of_their_documents() -> None:
    query, weights = question("wing"), {Term("wing"): 1.0}
    found = [chunk("b", "a wing", 1), chunk("b", "a wing", 0), chunk("a", "a wing", 7)]
    places = [(each.chunk.document_id, each.chunk.number) for each in rank(query, weights, found)]
    assert places == [("a", 7), ("b", 0), ("b", 1)]


def test_nothing_ranks_to_nothing() -> None:
    assert rank(question("wing"), {Term("wing"): 1.0}, []) == []
    assert [each.score for each in rank(Query(), {}, [chunk("d", "")])] == [0.0]


def test_the_most_promising_are_in_the_heaviest_lists() -> None:
    assert most_promising([(1.0, ["a", "b"]), (2.0, ["b", "c"]), (0.5, ["d"])], 3) == ["b", "c", "a"]


def test_a_word_still_typed_counts_as_what_it_begins() -> None:
    matcher = Matcher([Term("arro", open=True), Term("sling")])
    assert matcher.terms_of("arrows") == (0,)
    assert matcher.terms_of("slings") == (1,)
    assert matcher.terms_of("bow") == ()
    assert matcher.terms_in("the arrows slings arro narrow sling") == [(1, 0), (2, 1), (3, 0), (5, 1)]


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 10_000))
def test_rarity_falls_with_frequency_and_is_never_negative(one: int, other: int, total: int) -> None:
    low, high = sorted((one, other))
    assert rarity(low, total) >= rarity(high, total) >= 0


@given(
    st.permutations(range(6)), st.lists(st.sampled_from(["wing flow", "wing", "flow", "air"]), min_size=6, max_size=6)
)
def test_the_order_of_arrival_changes_nothing(shuffled: list[int], texts: list[str]) -> None:
    query = question("wing flow")
    weights = weights_of(dict.fromkeys(query.terms, 3), 100)
    found = [chunk("d", text, number) for number, text in enumerate(texts)]
    assert rank(query, weights, found) == rank(query, weights, [found[at] for at in shuffled])
