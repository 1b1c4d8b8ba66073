"""Words and meaning make one order."""

from base64 import b64decode
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.search.fusion import NEARNESS, Embedded, Nearness, fused, liked
from functions.search.ranking import Ranked
from knts.embeddings import Near, normalised, packed
from tests.searching import chunk

QUESTION = normalised([1.0] * 64)


def towards(share: float) -> list[float]:
    """A vector that points from nowhere near the question (0) to where the question does (1)."""
    away = [1.0 if at % 2 else -1.0 for at in range(64)]
    return normalised([share + (1 - share) * other for other in away])


def ranked(name: str, score: float) -> Ranked:
    return Ranked(chunk(name, name), score)


def near(**shares: float) -> Nearness:
    likeness = {name: sum(map(float.__mul__, QUESTION, towards(share))) for name, share in shares.items()}
    passages = [
        Near(f"{name}-0", likeness[name], b64decode(packed(towards(shares[name]))))
        for name in sorted(shares, key=lambda name: -likeness[name])
    ]
    return Nearness(QUESTION, passages, len(passages))


def order(found: list[Ranked]) -> list[str]:
    return [each.chunk.document_id for each in found]


def test_of_passages_with_the_same_words_the_nearer_one_comes_first() -> None:
    assert order(fused([ranked("far", 5.0), ranked("near", 5.0)], near(far=0.1, near=0.9)))[0] == "near"


def test_of_passages_as_near_the_one_with_more_of_the_words_comes_first() -> None:
    assert order(fused([ranked("few", 2.0), ranked("many", 5.0)], near(few=0.5, many=0.5)))[0] == "many"


def test_a_passage_without_any_of_the_words_is_found_by_what_it_means() -> None:
    found = fused(
        [ranked("words", 5.0), ranked("meaning", 0.0), ranked("neither", 0.0)], near(meaning=0.9, neither=0.1)
    )
    assert order(found) == ["words", "meaning", "neither"]
    assert found[1].score > 0


def test_a_passage_like_the_best_ones_comes_up() -> None:
    """`like` and `other` are as near the question; one of them says what the best passage says."""
    side = [1.0 if at < 32 else -0.5 for at in range(64)]
    best, like = normalised(side), normalised([each + 0.05 for each in side])
    other = normalised(side[32:] + side[:32])
    passages = [Near(f"{name}-0", 0.5, b64decode(packed(v))) for name, v in (("like", like), ("other", other))]
    question = Nearness(QUESTION, [Near("best-0", 0.9, b64decode(packed(best))), *passages], 3)
    found = fused([ranked("best", 5.0), ranked("like", 1.0), ranked("other", 1.0)], question)
    assert order(found) == ["best", "like", "other"]


def test_a_passage_tells_which_model_embedded_it_and_its_likeness_where_it_is_among_the_nearest() -> None:
    nearness = replace(near(a=0.9), model="m")
    a, far, missing = liked([ranked("a", 1.0), ranked("b", 2.0), ranked("c", 3.0)], nearness, Embedded(0.7, {"b-0"}))
    assert a.likeness == pytest.approx(nearness.passages[0].likeness, abs=1e-4)
    assert (a.score, a.embedded_by) == (1.0, "m")
    assert (far.likeness, far.embedded_by) == (None, "m")
    assert missing == ranked("c", 3.0)


def test_scores_keep_the_scale_of_words() -> None:
    found = fused([ranked("a", 8.0), ranked("b", 4.0)], near(a=0.9, b=0.2))
    assert found[0].score == pytest.approx(8.0)


def test_a_neighbour_that_may_not_be_shown_changes_nothing() -> None:
    with_it = fused([ranked("a", 5.0), ranked("b", 4.0)], near(a=0.5, b=0.6, hidden=0.9))
    assert with_it == fused([ranked("a", 5.0), ranked("b", 4.0)], near(a=0.5, b=0.6))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1)), max_size=12))
def test_nothing_is_lost_and_nothing_is_invented(passages: list[tuple[float, float]]) -> None:
    hits = [ranked(f"d{at}", score) for at, (score, _) in enumerate(passages)]
    found = fused(hits, near(**{f"d{at}": share for at, (_, share) in enumerate(passages)}))
    assert sorted(order(found)) == sorted(order(hits))
    assert all(one.score >= other.score for one, other in pairwise(found))


SCORES = st.lists(
    st.tuples(st.floats(0, 50), st.sampled_from(["near", "far", "none"]), st.floats(0, 1)), min_size=1, max_size=12
)


def partly(passages: list[tuple[float, str, float]]) -> tuple[list[Ranked], Nearness, Embedded]:
    """Passages of which some are among the nearest, some have an embedding that is not, and some have none."""
    hits = [ranked(f"d{at}", score) for at, (score, _, _) in enumerate(passages)]
    nearness = near(**{f"d{at}": share for at, (_, kind, share) in enumerate(passages) if kind == "near"})
    far = {f"d{at}-0" for at, (_, kind, _) in enumerate(passages) if kind == "far"}
    share = (len(nearness.passages) + len(far)) / len(passages)
    return hits, nearness, Embedded(share, far)


@given(SCORES)
def test_nobody_ranks_below_what_its_words_beat_merely_for_want_of_an_embedding(
    passages: list[tuple[float, str, float]],
) -> None:
    """Below what is near, it may; below what has an embedding that is far, or has none either, not."""
    found = {hit.chunk.document_id: hit.score for hit in fused(*partly(passages))}
    for at, (score, kind, _) in enumerate(passages):
        beaten = [n for n, (other, its, _) in enumerate(passages) if its != "near" and other <= score]
        assert kind != "none" or all(found[f"d{at}"] >= found[f"d{n}"] for n in beaten)


@given(SCORES)
def test_meaning_moves_nothing_by_more_than_the_share_that_has_embeddings_allows(
    passages: list[tuple[float, str, float]],
) -> None:
    hits, nearness, embedded = partly(passages)
    scale = max(hit.score for hit in hits) or 1.0
    found = {hit.chunk.document_id: hit.score for hit in fused(hits, nearness, embedded)}
    moved = (abs(found[hit.chunk.document_id] - hit.score) for hit in hits)
    assert max(moved) <= NEARNESS * embedded.share * scale + 0.0001


@given(SCORES)
def test_when_all_have_embeddings_it_makes_no_difference_to_know_it(passages: list[tuple[float, str, float]]) -> None:
    everything = [(score, "far" if kind == "none" else kind, share) for score, kind, share in passages]
    hits, nearness, embedded = partly(everything)
    assert embedded.share == 1.0
    assert fused(hits, nearness, embedded) == fused(hits, nearness)


@given(SCORES)
def test_when_none_has_an_embedding_the_order_is_that_of_words(passages: list[tuple[float, str, float]]) -> None:
    hits, nearness, embedded = partly([(score, "none", share) for score, _, share in passages])
    by_words = sorted(hits, key=lambda hit: (-round(hit.score, 4), hit.chunk.document_id))
    assert fused(hits, nearness, embedded) == [Ranked(hit.chunk, round(hit.score, 4)) for hit in by_words]


def test_one_without_an_embedding_is_taken_to_be_as_near_as_its_words_say() -> None:
    """The others are half as near as their words are good, so this one keeps its place among them."""
    hits = [ranked("a", 9.0), ranked("new", 6.0), ranked("b", 5.0), ranked("c", 3.0)]
    found = fused(hits, near(a=0.9, b=0.5, c=0.3), Embedded(0.999, frozenset()))
    assert order(found) == ["a", "new", "b", "c"]
