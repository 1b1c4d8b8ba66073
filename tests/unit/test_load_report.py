"""The load test's tables and its made-up words."""

import random

import pytest

from tests.load import corpus
from tests.load.calls import SEARCH, Call, Sample, Step
from tests.load.figures import Verdict, figures
from tests.load.report import said, table, tables
from tests.load.sampling import LOAD


def test_a_table_is_markdown_and_reads_as_text() -> None:
    assert table(("a", "long head"), [("longer", 1), ("b", 22)]).splitlines() == [
        "| a      | long head |",
        "| ------ | --------- |",
        "| longer | 1         |",
        "| b      | 22        |",
    ]


def test_the_tables_name_the_knee_and_the_step_after_and_leave_the_load_generator_out_of_the_sum() -> None:
    steps = [Step(0, 10, 0, 10), Step(1, 80, 10, 20), Step(2, 10, 20, 30, after=True)]
    calls = [Call(SEARCH, at / 10, 0.02, "200") for at in range(300)]
    calls += [Call(SEARCH, 10 + at / 20, 0.02, "429") for at in range(100)]
    samples = [
        Sample(at, name, at * share, 100.0) for at in range(31) for name, share in (("ingress", 0.25), (LOAD, 1))
    ]
    text = tables([figures(step, calls, samples) for step in steps])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert ["10 (knee)", "10.0", "10.0", "0", "0", "–", "–"] in cells
    assert ["80", "20.0", "10.0", "100", "0", "20", "–"] in cells
    assert ["10 (after)", "0.25", "0.25", "1.00"] in cells
    assert ["users", "200", "429"] in cells


def test_a_verdict_says_its_faults_first() -> None:
    assert said(Verdict(["ingress is gone"], ["10 calls"])).splitlines() == [
        "Faults:",
        "- ingress is gone",
        "",
        "- 10 calls",
    ]
    assert said(Verdict()).startswith("No process lost")


def test_places_and_documents_are_the_same_in_every_run_and_all_different() -> None:
    assert len(set(corpus.PLACES)) == len(corpus.PLACES) == 400
    assert corpus.standing_documents() == corpus.standing_documents()
    assert len({document["id"] for document in corpus.standing_documents()}) == 400


@pytest.mark.parametrize("word", [*corpus.WORDS, *corpus.PLACES[:50]])
def test_a_misspelt_word_is_another_one_but_near(word: str) -> None:
    for seed in range(20):
        other = corpus.misspelt(word, random.Random(seed))
        assert other != word
        assert other[0] == word[0]
        assert len(word) - len(other) in (0, 1)


def test_fresh_questions_are_none_of_the_repeated_ones() -> None:
    chance = random.Random(1)
    repeated = {corpus.repeated_question(chance) for _ in range(500)}
    assert len(repeated) == corpus.REPEATED
    assert not repeated & {corpus.fresh_question(chance) for _ in range(500)}
    assert not repeated & {corpus.question_of_the_moment(moment) for moment in range(1000)}


def test_written_documents_hold_no_word_of_a_question() -> None:
    chance = random.Random(1)
    asked = set(corpus.question("").rstrip("?").lower().split())
    for _ in range(50):
        document_id, body = corpus.written_document(chance)
        assert document_id.startswith("written/")
        assert not asked & set(f"{body['title']} {body['text']}".lower().replace(".", "").split())
