"""The calculation behind docs/scale.md: its queue against closed form and simulation, its inputs, and its docs."""

import heapq
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import scale
from bench.scale import Cpu, Load, Model, first_to_saturate, measured, needed, slots_needed, uses, waits

ROOT = Path(__file__).parents[2]
CPU = Cpu(ingress=2, search=7, typesense=6, llm_answer=3, cache_writer=1, index_document=3, redis=1)
MODEL = Model(seconds=2, slots=4, wait=5)


@pytest.mark.parametrize(("slots", "offered", "share"), [(1, 0.5, 0.5), (1, 0.9, 0.9), (2, 1.0, 1 / 3), (3, 3.0, 1.0)])
def test_the_share_that_waits_is_the_textbooks(slots: int, offered: float, share: float) -> None:
    assert waits(slots, offered) == pytest.approx(share)


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_the_recursion_is_the_sum(slots: int, busy: float) -> None:
    offered = busy * slots
    last = offered**slots / math.factorial(slots) / (1 - busy)
    direct = last / (sum(offered**n / math.factorial(n) for n in range(slots)) + last)
    assert waits(slots, offered) == pytest.approx(direct, rel=1e-6)


def test_no_more_than_one_in_twenty_waits_longer_in_a_simulated_line() -> None:
    """A line played through, question by question; with one slot less it is more than one in twenty."""
    slots = slots_needed(2.0, MODEL)
    late = {}
    for number, questions in ((slots, 200_000), (slots - 1, 20_000)):
        chance = random.Random(0)
        free, now, waited = [0.0] * number, 0.0, 0
        for _ in range(questions):
            now += chance.expovariate(2.0)
            begins = max(now, heapq.heappop(free))
            waited += begins - now > MODEL.wait
            heapq.heappush(free, begins + chance.expovariate(1 / MODEL.seconds))
        late[number] = waited / questions
    assert late[slots] <= 0.05 < late[slots - 1]


def test_cpu_is_shared_out_over_what_used_it() -> None:
    report = """
| users | answered/s |
| ----- | ---------- |
| 10 | 7 |
| 100 (knee) | 78 |

| users | search |
| --- | --- |
| 100 (knee) | 500 / 600 / 700 |

| users | ingress | index-document | search | llm-answer | cache-writer | redis | typesense |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 100 (knee) | 2 | 0.5 | 7.3 | 2.4 | 2.9 | 1 | 7.3 |
"""
    found = measured(report)
    # 78 calls a second: 49 searches, 24 questions, 5 documents
    assert found.ingress == pytest.approx(2)
    assert found.search == pytest.approx(7.3 * 78 / 73)
    assert found.llm_answer == pytest.approx(2.4 * 78 / 24)
    assert found.cache_writer == pytest.approx(2.9 * 78 / 29)
    assert found.index_document == pytest.approx(0.5 * 78 / 5)


def test_a_report_without_a_knee_is_refused() -> None:
    with pytest.raises(SystemExit, match="no table with the knee"):
        measured("| users | answered/s |\n| --- | --- |\n| 10 | 7 |")


def test_an_answer_that_ingress_knows_uses_nothing_behind_it() -> None:
    known = uses(Load(100, fresh=0, fast=1, searches=0, documents=0))
    assert {part for part, often in known.items() if often} == {"ingress", "redis"}


def test_the_first_to_saturate_comes_first() -> None:
    order = first_to_saturate(Load(1, fresh=0.5, fast=0, searches=0, documents=0), CPU, MODEL, 0.5)
    assert order[0] == ("model", pytest.approx(0.5 * 4 / 2 / 0.5))
    assert [most for _, most in order] == sorted(most for _, most in order)


@given(st.floats(0.1, 2000), st.floats(1.01, 5))
def test_more_answers_never_need_less(answers: float, times: float) -> None:
    less, more = (needed(Load(rate), CPU, MODEL, busy=0.6, node_cores=8) for rate in (answers, answers * times))
    assert all(more[row] >= less[row] for row in less)


@given(st.floats(0.1, 200))
def test_what_is_provided_is_not_busier_than_was_asked(answers: float) -> None:
    load = Load(answers)
    found = needed(load, CPU, MODEL, busy=0.6, node_cores=8)
    for part, cores in scale.busy_cores(load, CPU).items():
        provided = found[part] * (8 if part == "typesense" else 1)
        assert cores <= 0.6 * provided + 1e-9
    assert found["model_nodes"] * MODEL.slots >= found["slots"] > answers * load.fresh * MODEL.seconds


def test_the_docs_quote_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    docs = (ROOT / "docs" / "scale.md").read_text()
    for arguments in ([], ["--seconds", "6", "--slots", "8", "100", "1000", "3000"]):
        assert scale.main(arguments) == 0
        printed = capsys.readouterr().out
        tables = [part for part in printed.split("\n\n") if part.startswith("|")]
        assert all(table.strip() in docs for table in tables[0 if not arguments else 1 :]), printed
