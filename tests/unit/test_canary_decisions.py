"""What a new revision must show to get more traffic, and what takes it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.canary.decisions import STEPS, Limits, Seen, judge, next_percent

LIMITS = Limits(requests=100, errors=0.01, slower=1.5, slack=0.1, watch=60, patience=600)
GOOD = Seen(requests=400, errors=0, p95=0.2)


@pytest.mark.parametrize(
    ("old", "new", "elapsed", "move", "why"),
    [
        (GOOD, GOOD, 60, "step", "0 of 400"),
        (GOOD, GOOD, 59, "hold", "59 of 60 s"),
        (GOOD, Seen(99, 0, 0.2), 60, "hold", "99 of 100 requests at the new"),
        (Seen(99, 0, 0.2), GOOD, 60, "hold", "99 of 100 requests at the old"),
        (GOOD, Seen(400, 0, None), 60, "hold", "no latency of the new"),
        (Seen(400, 0, None), GOOD, 60, "hold", "no latency of the old"),
        # errors: a hundredth may fail, and as many as fail at the old one
        (GOOD, Seen(400, 4, 0.2), 60, "step", "4 of 400"),
        (GOOD, Seen(400, 5, 0.2), 60, "back", "5 of 400"),
        (Seen(400, 40, 0.2), Seen(400, 44, 0.2), 60, "step", ""),
        (Seen(400, 40, 0.2), Seen(400, 45, 0.2), 60, "back", "11.0% may"),
        # at once, though there were few requests: more than all of the least number might
        (GOOD, Seen(2, 2, 0.2), 1, "back", "2 of 2"),
        (GOOD, Seen(2, 1, 0.2), 1, "hold", "2 of 100 requests"),
        # latency: half as long again, or a tenth of a second more
        (GOOD, Seen(400, 0, 0.3), 60, "step", ""),
        (GOOD, Seen(400, 0, 0.31), 60, "back", "p95 is 0.310 s, at most 0.300 s"),
        (Seen(400, 0, 0.01), Seen(400, 0, 0.1), 60, "step", ""),
        (Seen(400, 0, 0.01), Seen(400, 0, 0.12), 60, "back", "p95"),
        (Seen(400, 0, 8.0), Seen(400, 0, 11.9), 60, "step", ""),
        # what can't be known is waited for, and then against the new one
        (None, GOOD, 60, "hold", "Prometheus"),
        (GOOD, None, 599, "hold", "Prometheus"),
        (None, None, 600, "back", "no verdict after 600 s: Prometheus"),
        (GOOD, Seen(99, 0, 0.2), 600, "back", "no verdict after 600 s: 99 of 100"),
        (GOOD, Seen(), 600, "back", "0 of 100"),
        (GOOD, GOOD, 600, "step", ""),
    ],
)
def test_a_verdict(old: Seen | None, new: Seen | None, elapsed: float, move: str, why: str) -> None:
    verdict = judge(old, new, elapsed, LIMITS)
    assert (verdict.move, why in verdict.why) == (move, True), verdict


seen = st.builds(
    Seen,
    requests=st.integers(0, 10_000).map(float),
    errors=st.integers(0, 10_000).map(float),
    p95=st.none() | st.floats(0.001, 300),
)


@given(st.none() | seen, st.none() | seen, st.floats(0, 2000))
def test_no_step_is_taken_on_too_little_or_on_worse(old: Seen | None, new: Seen | None, elapsed: float) -> None:
    verdict = judge(old, new, elapsed, LIMITS)
    if verdict.move == "step":
        assert old is not None
        assert new is not None
        assert min(old.requests, new.requests) >= LIMITS.requests
        assert elapsed >= LIMITS.watch
        assert new.error_rate <= old.error_rate + LIMITS.errors + 1e-9
        assert new.p95 is not None
        assert old.p95 is not None
        assert new.p95 <= max(1.5 * old.p95, old.p95 + 0.1)
    assert verdict.move != "hold" or elapsed < LIMITS.patience


def test_the_steps() -> None:
    assert [next_percent(percent) for percent in (0, 5, 7, 25, 50, 100)] == [5, 25, 25, 50, 100, 100]
    assert next_percent(50, (10, 50)) == 100  # after the last step it gets everything
    assert STEPS[-1] == 100
