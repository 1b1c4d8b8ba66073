"""What follows from an answer, and when: Knative's retry table and back-off on a virtual clock."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts import events
from knts.devbroker import delivery
from knts.devbroker.delivery import Attempt, DeadLetter, Done, Policy, Retry
from knts.events import Event

RETRIED = {404, 408, 409, 429}
STATUSES = st.integers(300, 599)


def failed(status: int, **more: float) -> Attempt:
    return Attempt(status, f"the subscriber answered {status}", **more)


def delays(policy: Policy, attempt: Attempt, jitter: float = 0.0) -> list[float]:
    """Every wait of an event that fails the same way again and again, until it is given up."""
    waits: list[float] = []
    while isinstance(decision := delivery.decide(policy, len(waits), attempt, jitter), Retry):
        waits.append(decision.delay)
    assert isinstance(decision, DeadLetter)
    return waits


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_retried_or_given_up_by_the_table(status: int) -> None:
    attempts = 1 + len(delays(Policy(retry=3), failed(status)))
    assert attempts == (4 if status >= 500 or status in RETRIED else 1)


def test_a_failure_without_an_answer_is_retried() -> None:
    assert len(delays(Policy(retry=3), Attempt(502, "the reply is no valid CloudEvent", retriable=True))) == 3


@given(st.integers(200, 299), st.integers(0, 20))
def test_a_success_is_done_whatever_came_before(status: int, earlier: int) -> None:
    assert delivery.decide(Policy(), earlier, Attempt(status), 0.5) == Done()


def test_the_default_makes_eleven_attempts_in_204_6_seconds() -> None:
    waits = delays(delivery.DEFAULT, failed(503))
    assert len(waits) == 10
    assert sum(waits) == pytest.approx(204.6)


def test_linear_begins_at_once() -> None:
    assert delays(Policy(retry=4, backoff="linear", delay=0.5), failed(500)) == [0.0, 0.5, 1.0, 1.5]


@given(
    st.integers(0, 60),
    st.sampled_from(["linear", "exponential"]),
    st.floats(0, 100),
    st.floats(0, 1),
    STATUSES,
)
def test_attempts_are_bounded_and_jitter_only_stretches(
    retry: int, backoff: str, delay: float, jitter: float, status: int
) -> None:
    policy = Policy(retry=retry, backoff=backoff, delay=delay)
    plain, stretched = delays(policy, failed(status)), delays(policy, failed(status), jitter)
    assert len(plain) == len(stretched) <= retry
    assert all(least <= wait <= least * (1 + delivery.JITTER) for least, wait in zip(plain, stretched, strict=True))
    assert all(wait <= delivery.LONGEST * 1.1 for wait in stretched)


@pytest.mark.parametrize(
    ("status", "asked", "limit", "waits"),
    [
        (503, 5.0, None, 0.2),
        (503, 5.0, 10.0, 5.0),
        (503, 50.0, 10.0, 10.0),
        (429, 5.0, 10.0, 5.0),
        (500, 5.0, 10.0, 0.2),
        (503, 0.1, 10.0, 0.2),
        (503, None, 10.0, 0.2),
    ],
)
def test_retry_after_counts_within_its_limit(
    status: int, asked: float | None, limit: float | None, waits: float
) -> None:
    attempt = Attempt(status, "busy", retry_after=asked)
    assert delivery.decide(Policy(retry_after_max=limit), 0, attempt, 0.0) == Retry(waits)


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after(text: str | None, seconds: float | None) -> None:
    assert delivery.retry_after(text, NOW) == seconds


@given(STATUSES, st.integers(0, 10_000), st.floats(0, 1))
def test_a_dead_letter_is_never_given_up(status: int, earlier: int, jitter: float) -> None:
    decision = delivery.decide_dead_letter(Policy(retry=0, delay=0), earlier, failed(status), jitter)
    assert isinstance(decision, Retry)
    assert 0 < decision.delay <= delivery.DEAD_LETTER_LONGEST


@given(st.integers(1, 12), st.floats(-1e6, 1e6))
def test_a_clock_that_jumped_holds_no_event_longer_than_its_delay(attempts: int, off_by: float) -> None:
    waits = delivery.remaining(delivery.DEFAULT, attempts, 1e9 + 5, 1e9 + off_by)
    assert 0 <= waits <= delivery.backoff(delivery.DEFAULT, attempts - 1, 1.0)


# -- time to live ------------------------------------------------------------------------------------------------------


def event(**attributes: str) -> Event:
    return events.new_event("t", "/s", {"n": 1}, id="1", **attributes)


@pytest.mark.parametrize(
    ("given_ttl", "left"),
    [(None, "254"), ("3", "2"), ("1", None), ("0", None), ("-5", None), ("x", "254"), ("99999999999", "254")],
)
def test_time_to_live_is_one_less_at_each_arrival(given_ttl: str | None, left: str | None) -> None:
    named = {} if given_ttl is None else {"knativebrokerttl": given_ttl}
    arrived = delivery.arrived(event(**named), "2026-01-01T00:00:00Z")
    if left is None:
        assert arrived is None
        return
    assert arrived is not None
    expected = "255" if left == "254" else left  # what is absent or unreadable begins with the full number
    assert arrived.attributes["knativebrokerttl"] == expected
    assert arrived.attributes["knativearrivaltime"] == "2026-01-01T00:00:00Z"
    assert "knativebrokerttl" not in delivery.outgoing(arrived).attributes


def test_a_reply_loop_makes_255_deliveries() -> None:
    current = delivery.arrived(event(), events.now())
    deliveries = 0
    while current is not None:
        deliveries += 1
        current = delivery.reply_arrived(event(knativebrokerttl="200"), current, events.now())
    assert deliveries == 255


# -- dead letters ------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_a_dead_letter_keeps_knatives_length_and_comes_back_as_it_was(body: bytes) -> None:
    alive = event(tenant="t")
    letter = delivery.dead(alive, Attempt(422, "no", body), "http://x/", "default/t")
    data = letter.attributes["knativeerrordata"]
    assert len(data) <= 1024
    assert base64.b64decode(data) == (body or b"no")[:768]
    assert delivery.revived(letter) == alive


def test_a_time_out_is_told_in_words() -> None:
    letter = delivery.dead(event(), Attempt(504, "no answer within 5 s", retriable=True), "http://x/", "default/t")
    assert base64.b64decode(letter.attributes["knativeerrordata"]) == b"no answer within 5 s"
    assert letter.attributes["knativeerrorcode"] == "504"


def test_retry_after_of_a_naive_date_is_utc() -> None:
    later = NOW + timedelta(seconds=10)
    assert delivery.retry_after(later.strftime("%a, %d %b %Y %H:%M:%S -0000"), NOW) == 10.0
