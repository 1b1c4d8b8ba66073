"""The load test's figures: percentiles, what belongs to a step, the knee, the recovery, and what fails a run."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load import calls
from tests.load.calls import CUT, DOCUMENT, FRESH, LISTEN, REPEATED, SEARCH, TIMED_OUT, Call, Sample, Step
from tests.load.figures import FIRST, figures, judged, knee, latency, of_road, percentile, recovered_after
from tests.load.sampling import LOAD, TICKS, read_stat

LIGHT, HEAVY, AFTER = Step(0, 10, 100, 110), Step(1, 20, 110, 120), Step(2, 10, 120, 130, after=True)


def searches(step: Step, seconds: float, *, result: str = "200", count: int = 100) -> list[Call]:
    """Calls evenly over a step, each as long."""
    return [Call(SEARCH, step.began + (n + 0.5) * step.seconds / count, seconds, result) for n in range(count)]


def figured(*groups: Sequence[Call]) -> tuple[list[Call], list]:
    every = [call for group in groups for call in group]
    return every, [figures(step, every, []) for step in (LIGHT, HEAVY, AFTER)]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], quantile: float) -> None:
    found = percentile(values, quantile)
    assert found in values
    assert sum(value <= found for value in values) >= quantile * len(values)
    assert sum(value < found for value in values) < quantile * len(values)


def test_latencies_are_told_in_milliseconds_and_nothing_has_none() -> None:
    found = latency([n / 1000 for n in range(1, 101)])
    assert found is not None
    assert (found.count, found.p50, found.p95, found.p99) == (100, 50, 95, 99)
    assert latency([]) is None


def test_a_call_belongs_to_the_step_in_which_it_began_and_an_answer_to_the_one_in_which_it_came() -> None:
    calls = [Call(SEARCH, 109, 0.5, "200"), Call(SEARCH, 109.5, 3, "200"), Call(SEARCH, 112, 1, "200")]
    _, (light, heavy, _) = figured(calls)
    assert (light.offered, light.answered) == (0.2, 0.1)
    assert (heavy.offered, heavy.answered) == (0.1, 0.2)
    assert light.latency[SEARCH].p99 == 3000


def test_latencies_count_only_what_was_answered_and_refusals_have_their_own() -> None:
    _, (light, *_) = figured(
        searches(LIGHT, 0.1), searches(LIGHT, 0.002, result="429"), searches(LIGHT, 9, result="504")
    )
    assert light.latency[SEARCH].p99 == 100
    assert light.refusal is not None
    assert light.refusal.p99 == 2
    assert (light.refused, light.failed) == (100, 100)


def test_a_stream_counts_to_its_last_event_and_to_its_first() -> None:
    _, (light, *_) = figured(
        [Call(FRESH, 101, 8, "200", first=0.1), Call(LISTEN, 101, 9, "504 in the stream", first=0.2)]
    )
    assert light.latency[FRESH].p50 == 8000
    assert (light.latency[FIRST].p50, light.latency[FIRST].p99) == (100, 200)
    assert light.failed == 1


def test_repeated_questions_tell_how_many_came_from_the_cache() -> None:
    _, (light, *_) = figured([Call(REPEATED, 101, 0.1, "200", cache=cache) for cache in ("hit", "hit", "hit", "miss")])
    assert light.hits == 0.75


def test_cpu_and_memory_are_those_of_the_step() -> None:
    samples = [Sample(at, "ingress", (at - 90) / 2, at, 0) for at in range(95, 125)]
    samples += [Sample(at, LOAD, at - 90, 50, 0) for at in range(95, 125)]
    found = figures(LIGHT, searches(LIGHT, 0.1), samples)
    assert found.cores == {"ingress": 0.5, LOAD: 1.0}
    assert found.cpu_ms["ingress"] == pytest.approx(10 * 0.5 * 1000 / found.results["200"], rel=0.02)
    assert found.rss["ingress"] == 109
    assert of_road(found.cores) == 0.5


def test_a_step_in_which_nothing_is_answered_has_no_cpu_per_call() -> None:
    found = figures(LIGHT, [], [Sample(100, "ingress", 1, 50), Sample(110, "ingress", 2, 50)])
    assert found.cpu_ms == {}
    assert found.answered == 0


@pytest.mark.parametrize(("heavy", "expected"), [(200, HEAVY), (185, HEAVY), (150, LIGHT)])
def test_the_knee_is_the_last_step_whose_users_are_answered_at_their_pace(heavy: int, expected: Step) -> None:
    _, found = figured(searches(LIGHT, 0), searches(HEAVY, 0, count=heavy), searches(AFTER, 0, count=900))
    assert knee(found).step == expected


def test_cheap_answers_past_the_knee_do_not_move_it() -> None:
    steps = [Step(n, users, n * 10, n * 10 + 10) for n, users in enumerate((10, 20, 40))]
    counts = (100, 150, 400)
    every = [call for step, count in zip(steps, counts, strict=True) for call in searches(step, 0, count=count)]
    assert knee([figures(step, every, []) for step in steps]).step == steps[0]


def test_a_recovery_is_timed_from_the_end_of_the_load() -> None:
    back = [Call(SEARCH, 120 + n / 10, 0.5 if n < 55 else 0.1, "200") for n in range(100)]
    every, (light, *_) = figured(searches(LIGHT, 0.1), back)
    assert recovered_after(every, SEARCH, light, AFTER) == 6


def test_what_stays_slow_or_is_refused_has_not_recovered() -> None:
    for still in (searches(AFTER, 0.5), searches(AFTER, 0.001, result="429"), []):
        every, (light, *_) = figured(searches(LIGHT, 0.1), still)
        assert recovered_after(every, SEARCH, light, AFTER) is None


def test_what_was_never_slow_is_back_at_once() -> None:
    every, (light, *_) = figured(searches(LIGHT, 0.1), searches(AFTER, 0.1))
    assert recovered_after(every, SEARCH, light, AFTER) == 0
    assert recovered_after(every, DOCUMENT, light, AFTER) is None


@pytest.mark.parametrize("result", ["200", "202", "429", "503", CUT])
def test_designed_answers_fail_no_run(result: str) -> None:
    every, found = figured(searches(LIGHT, 0.1), searches(HEAVY, 0.1, result=result), searches(AFTER, 0.1))
    assert judged(every, found, []).faults == []


@pytest.mark.parametrize("result", ["500", "504", "404", "429 without Retry-After", TIMED_OUT, "stream broke off", ""])
def test_any_other_answer_fails_it(result: str) -> None:
    every, found = figured(searches(LIGHT, 0.1), searches(HEAVY, 0.1, result=result, count=3), searches(AFTER, 0.1))
    assert judged(every, found, []).faults == [f"3 × search: {result}"]


def test_a_lost_process_fails_it_and_so_does_a_run_without_answers() -> None:
    every, found = figured(searches(LIGHT, 0.1, result="429"))
    assert judged(every, found, ["ingress"]).faults == ["ingress did not live through the run", "nothing was answered"]


def test_slowness_fails_no_run() -> None:
    every, found = figured(searches(LIGHT, 0.1), searches(HEAVY, 9), searches(AFTER, 9))
    verdict = judged(every, found, [])
    assert verdict.faults == []
    assert any("search after the load: not back" in one for one in verdict.told)


@pytest.mark.parametrize(
    ("status", "retry_after", "result"),
    [(200, False, "200"), (429, True, "429"), (429, False, "429 without Retry-After"), (503, True, "503"),
     (503, False, "503 without Retry-After"), (504, False, "504"), (500, True, "500")],
)  # fmt: skip
def test_a_refusal_is_one_only_with_its_time(status: int, retry_after: bool, result: str) -> None:
    assert calls.result_of(status, retry_after=retry_after) == result


@pytest.mark.parametrize(
    ("last", "final", "result"),
    [
        ("completed", {}, "200"),
        ("abstained", {}, "200"),
        ("failed", {"problem": {"status": 504}}, "504 in the stream"),
        ("failed", {}, "unknown in the stream"),
        ("cancelled", {}, "cancelled in the stream"),
        ("", {}, "stream broke off"),
    ],
)
def test_a_stream_is_judged_by_its_last_event(last: str, final: dict[str, object], result: str) -> None:
    assert calls.result_of_stream(last, final) == result


def test_what_is_written_down_is_read_again() -> None:
    call = Call(FRESH, 1.5, 2.5, "200", 0.1, "miss")
    sample = Sample(1.0, "ingress", 2.0, 80.5, 16)
    lines = [calls.written(one) for one in (LIGHT, call, AFTER, sample)]
    assert calls.read(lines) == ([call], [LIGHT, AFTER], [sample])
    assert all(json.loads(line) for line in lines)


def test_a_process_s_stat_is_read_whatever_its_name_is() -> None:
    fields = [
        "S",
        *("0" for _ in range(10)),
        str(3 * TICKS),
        str(TICKS),
        *("0" for _ in range(8)),
        "256",
        *("0" for _ in range(28)),
    ]
    state, cpu, rss = read_stat(f"42 (a (bad) name) {' '.join(fields)}\n")
    assert (state, cpu) == ("S", 4.0)
    assert rss > 0
