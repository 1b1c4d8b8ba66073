"""The evaluation's own arithmetic."""

import pytest

from bench.eval.intervals import interval, with_interval
from bench.eval.judged import OWN, Judged, ndcg, own, recall

GRADES = {("a", ""): 2, ("b", ""): 1}


def test_the_best_order_counts_one_and_a_worse_one_less() -> None:
    assert ndcg([("a", ""), ("b", "")], GRADES) == pytest.approx(1)
    assert 0 < ndcg([("c", ""), ("b", ""), ("a", "")], GRADES) < ndcg([("b", ""), ("a", "")], GRADES) < 1
    assert ndcg([("c", "")] * 10 + [("a", "")], GRADES) == 0


def test_recall_is_the_share_of_the_answers_that_are_found() -> None:
    assert recall([("c", ""), ("b", "")], GRADES) == 0.5


def test_a_document_counts_once_by_its_best_passage() -> None:
    judged = Judged("c", [], {"1": "q"}, {"1": GRADES})
    assert judged.found("1", [("c", "x"), ("c", "y"), ("b", "x"), ("b", "y")]) == [("c", ""), ("b", "")]


def test_of_the_own_sample_only_the_passage_that_holds_the_words_counts() -> None:
    judged = Judged(OWN, [], {"1": "q"}, {"1": {("doc", "the very words"): 1}})
    hits = [("doc", "others"), ("doc", "here are\nthe very  words"), ("doc", "and the very words again")]
    assert judged.found("1", hits) == [("doc", "others"), ("doc", "the very words")]


def test_the_own_sample_asks_of_documents_that_are_there() -> None:
    judged = own()
    assert len(judged.questions) >= 15
    assert {document for answers in judged.grades.values() for document, _ in answers} <= {
        each["id"] for each in judged.documents
    }


def test_an_interval_holds_the_mean_narrows_with_more_questions_and_is_the_same_each_time() -> None:
    few, many = [0.0, 1.0] * 5, [0.0, 1.0] * 200
    assert interval(few) == interval(few)
    assert interval(few)[0] < interval(many)[0] < 0.5 < interval(many)[1] < interval(few)[1]
    assert with_interval([1.0, 1.0]) == "1.000 (1.000–1.000)"
