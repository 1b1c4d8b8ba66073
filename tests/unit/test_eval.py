"""The evaluation's own arithmetic."""

from collections import Counter

import pytest

from bench import conversations
from bench.eval.intervals import interval, with_interval
from bench.eval.judged import HANDBOOK, OWN, PARAPHRASES, ROOT, Judged, lines, ndcg, own, recall
from functions.llm_answer.text import sentences, stem, words

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


def test_the_conversations_ask_of_sections_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    questions = conversations.corpus(conversations.sections([str(ROOT / "README.md"), str(ROOT / "docs")]))
    assert capsys.readouterr().out == ""  # what is left out is told
    by_half = Counter((each.half, each.leans) for each in questions if each.kind != conversations.FIRST)
    assert by_half.total() >= 150
    assert min(by_half["first", False], by_half["second", False]) >= 15
    assert all(each.leans == (each.by_hand != each.asked) for each in questions)


def test_a_passage_answers_by_its_own_section_and_not_by_one_above_it() -> None:
    asked = conversations.Question("q", "q", conversations.FIRST, "first", ["docs/a.md#One"], ())
    passage = {"document_id": "docs/a.md", "title": "A", "section": "A › One"}
    assert asked.answered_by(passage)
    assert not asked.answered_by({**passage, "section": "A › One › Two"})
    assert not asked.answered_by({**passage, "document_id": "docs/b.md"})


def test_paraphrases_share_no_word_with_the_sentence_that_answers_them() -> None:
    texts = {each["id"]: each["text"] for each in lines(HANDBOOK)}
    rows = [each for each in lines(PARAPHRASES) if "document" in each]
    assert len(rows) >= 60
    for row in rows:
        text, at = texts[row["document"]], texts[row["document"]].index(row["holds"])
        end = at + len(row["holds"])
        answering = " ".join(text[first:last] for first, last in sentences(text) if first < end and at < last)
        assert not stems(row["question"]) & stems(answering), row["question"]


def stems(text: str) -> set[str]:
    return {stem(word.folded) for word in words(text) if word.informative}


def test_an_interval_holds_the_mean_narrows_with_more_questions_and_is_the_same_each_time() -> None:
    few, many = [0.0, 1.0] * 5, [0.0, 1.0] * 200
    assert interval(few) == interval(few)
    assert interval(few)[0] < interval(many)[0] < 0.5 < interval(many)[1] < interval(few)[1]
    assert with_interval([1.0, 1.0]) == "1.000 (1.000–1.000)"
