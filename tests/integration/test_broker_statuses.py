"""Every status from 100 to 599 and broken answers, from the wire to the decision; whole lives on a virtual clock."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts import events
from knts.devbroker import delivery, sending
from knts.devbroker.delivery import Attempt, DeadLetter, Done, Policy, Retry

EVENT = events.new_event("t", "/s", {"n": 1}, id="1")
RETRIED = {404, 408, 409, 429}
POLICY = Policy(retry=3, delay=0.5)


class Raw:
    """A subscriber that says what it is told to, byte for byte, and closes the connection."""

    said = b""
    url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Raw"]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            writer.write(self.said)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            yield self


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    async with Raw().serving() as subscriber:
        yield subscriber


def decided(attempt: Attempt) -> str:
    return type(delivery.decide(POLICY, 0, attempt, 0.0)).__name__


async def test_every_status_is_done_retried_or_given_up_by_the_table(raw: Raw) -> None:
    outcomes: dict[int, str] = {}
    async with sending.session() as http:
        for status in range(100, 600):
            raw.said = f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            outcomes[status] = decided(await sending.send(http, raw.url, EVENT, {}, 5))
    wanted = {
        status: "Done"
        if 200 <= status < 300
        else "Retry"
        if status >= 500 or status in RETRIED or (status < 200 and status != 101)  # only interim: no answer has come
        else "DeadLetter"
        for status in range(100, 600)
    }
    assert {status: found for status, found in outcomes.items() if found != wanted[status]} == {}


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncut",
        b"HTTP/1.1 200 OK\r\nce-id: 1\r\nce-id: 2\r\nce-type: t\r\nce-source: /s\r\nce-specversion: 1.0\r\n\r\n",
    ],
)
async def test_an_answer_that_is_broken_or_cut_is_retried(raw: Raw, said: bytes) -> None:
    raw.said = said
    async with sending.session() as http:
        attempt = await sending.send(http, raw.url, EVENT, {}, 5)
    assert attempt.fault
    assert decided(attempt) == "Retry"


@given(
    st.lists(st.sampled_from([200, 404, 408, 409, 429, 500, 502, 503, 504, 599]), min_size=1, max_size=30),
    st.integers(0, 12),
    st.sampled_from([delivery.LINEAR, delivery.EXPONENTIAL]),
    st.floats(0.01, 5),
    st.randoms(use_true_random=False),
)
def test_on_a_virtual_clock_attempts_and_waits_keep_their_bounds(
    statuses: list[int], retry: int, backoff: str, delay: float, chance: random.Random
) -> None:
    """What a subscriber answers in turn, its last answer for ever: when each attempt is made, and when it is over."""
    policy, now, attempts = Policy(retry=retry, backoff=backoff, delay=delay), 0.0, list[float]()
    while True:
        attempts.append(now)
        status = statuses[min(len(attempts), len(statuses)) - 1]
        answer = Attempt(status, "" if status == 200 else "it failed")
        decision = delivery.decide(policy, len(attempts) - 1, answer, chance.random())
        if not isinstance(decision, Retry):
            break
        now += decision.delay
    successes = [number for number, status in enumerate(statuses) if status == 200]
    made = successes[0] + 1 if successes and successes[0] <= retry else retry + 1
    assert len(attempts) == made
    assert isinstance(decision, Done if successes and successes[0] <= retry else DeadLetter)
    for number in range(made - 1):
        least = delay * (number if backoff == delivery.LINEAR else 2**number)
        waited = attempts[number + 1] - attempts[number]
        assert least * (1 - 1e-9) <= waited <= least * (1 + delivery.JITTER) * (1 + 1e-9)
