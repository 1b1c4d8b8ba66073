"""What is counted of a model's line."""

from collections.abc import Iterator

import pytest
import redis.asyncio

from knts import telemetry
from knts.clients.line import Line

MODEL = "m" * 200  # a name as long as a client likes
LABEL = f'gen_ai_request_model="{"m" * 128}"'


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    telemetry.start("llm-answer", {"LOG_LEVEL": "WARNING"})
    yield
    telemetry.stop()


@pytest.fixture
def line() -> Line:
    return Line(redis.asyncio.Redis())  # never called


def counted() -> list[str]:
    lines = telemetry.metrics()[0].decode().splitlines()
    return sorted(line for line in lines if line.startswith(("knts_model_flights", "knts_model_wait_seconds_count")))


def test_flights_are_counted_while_they_wait_and_while_they_are_written(line: Line) -> None:
    with line.waiting(MODEL):
        assert counted() == [f'knts_model_flights{{{LABEL},state="waiting"}} 1.0']
    with line.writing(MODEL):
        assert counted() == [
            f'knts_model_flights{{{LABEL},state="waiting"}} 0.0',
            f'knts_model_flights{{{LABEL},state="writing"}} 1.0',
            f"knts_model_wait_seconds_count{{{LABEL}}} 1.0",
        ]
    assert f'knts_model_flights{{{LABEL},state="writing"}} 0.0' in counted()


def test_a_wait_that_was_given_up_is_over_and_no_wait_that_led_to_a_slot(line: Line) -> None:
    with pytest.raises(TimeoutError), line.waiting(MODEL):
        raise TimeoutError
    assert counted() == [f'knts_model_flights{{{LABEL},state="waiting"}} 0.0']
