"""The circuit breaker, with the time in the test's hand."""

import pytest

from knts.breaker import Breaker


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(most=3, rest=10)


def fail(breaker: Breaker, times: int, at: float) -> None:
    for _ in range(times):
        assert breaker.wait(at) == 0
        breaker.failed(at)


def test_calls_pass_until_so_many_have_failed_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2, 0)
    breaker.succeeded()
    fail(breaker, 3, 1)
    assert breaker.wait(1) == 10
    assert breaker.wait(6) == 5


def test_then_one_is_let_through_and_its_success_lets_all_through(breaker: Breaker) -> None:
    fail(breaker, 3, 0)
    assert breaker.wait(10) == 0
    assert breaker.wait(10) == 10  # one at a time
    breaker.succeeded()
    assert breaker.wait(10) == breaker.wait(10) == 0


def test_its_failure_keeps_the_others_back(breaker: Breaker) -> None:
    fail(breaker, 3, 0)
    assert breaker.wait(10) == 0
    breaker.failed(12)
    assert breaker.wait(12) == 10
    assert breaker.wait(22) == 0


def test_a_call_that_never_tells_its_end_keeps_nobody_back_for_ever(breaker: Breaker) -> None:
    fail(breaker, 3, 0)
    assert breaker.wait(10) == 0
    assert breaker.wait(20) == 0
