"""Half-sent and endless heads of requests are not waited for; everything else is as uvicorn has it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from knts.patience import TOO_LARGE, PatientProtocol, patient
from tests.conftest import QuietServer

PATIENT = PatientProtocol.linger_seconds + 0.5
GOOD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers after the time that its path names, in ms, or when it has read all; without an end; or refuses."""
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        return
    if scope["path"] == "/close":
        named = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": named})
        await send({"type": "http.response.body", "body": b"no"})
        return
    if scope["path"] == "/read":
        while (await receive())["more_body"]:
            pass
    else:
        await asyncio.sleep(int(scope["path"].strip("/") or 0) / 1000)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest_asyncio.fixture
async def server(free_port: Any) -> AsyncIterator[QuietServer]:
    number = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=number, http=patient(0.2), lifespan="off", log_config=None)
    config.timeout_graceful_shutdown = 2
    server = QuietServer(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


@pytest.fixture
def port(server: QuietServer) -> int:
    return server.config.port


async def reply(port: int, *messages: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(8):
        with contextlib.suppress(ConnectionError):
            for message in messages:
                writer.write(message)
                await writer.drain()
                await asyncio.sleep(pause)
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(4096):
                found += chunk
    writer.close()
    return found


@pytest.mark.parametrize("message", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_half_a_head_is_not_waited_for(port: int, message: bytes) -> None:
    assert await reply(port, message) == b""


async def test_a_head_that_drips_is_not_waited_for(port: int) -> None:
    assert await reply(port, b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 20, pause=0.02) == b""


async def test_a_second_head_has_the_same_deadline(port: int) -> None:
    found = await reply(port, GOOD, b"GET / HT", pause=0.05)
    assert found.count(b"200 OK") == 1


HUGE = b"x" * 200_000


@pytest.mark.parametrize(
    "messages",
    [
        [b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 8000 + b"\r\n"] * 20],
        [b"GET / HTTP/1.1\r\nhost: x\r\nx: " + HUGE + b"\r\n\r\n"],
        [b"GET /" + HUGE + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\nx: " + HUGE + b"\r\n\r\n" + b"z" * 300_000, GOOD],
        [GOOD + b"GET / HTTP/1.1\r\nhost: x\r\nx: " + HUGE + b"\r\n\r\n" + GOOD],
    ],
    ids=["endless", "one line", "path", "with a body", "after another"],
)
async def test_a_head_that_is_too_large_is_told_so(port: int, messages: list[bytes]) -> None:
    for _ in range(5):
        found = await reply(port, *messages)
        assert found.count(b"HTTP/1.1 431 ") == 1
        assert found.endswith(b"content-length: 0\r\n\r\n")
        assert found.count(b"200 OK") <= messages[0].startswith(GOOD)


async def test_a_head_that_is_too_large_is_refused_in_one_piece_too() -> None:
    """However much of it the kernel hands over at once."""
    told: list[bytes] = []

    class FakeTransport(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

        def write(self, data: Any) -> None:
            told.append(data)

        def can_write_eof(self) -> bool:
            return False

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return None

        def close(self) -> None:
            pass

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

    config = uvicorn.Config(app, log_config=None)
    config.load()
    protocol = PatientProtocol(config, uvicorn.server.ServerState(), {})
    protocol.connection_made(FakeTransport())
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + HUGE + b"\r\n\r\n" + GOOD)
    protocol.data_received(GOOD)
    await asyncio.sleep(0)
    protocol.connection_lost(None)
    assert told == [TOO_LARGE]


async def test_who_is_refused_is_not_waited_for_for_ever(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionError):
            await _drip(writer, b"x: " + b"y" * 8000 + b"\r\n")


async def _drip(writer: asyncio.StreamWriter, line: bytes) -> None:
    while True:
        writer.write(line)
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_an_answer_may_take_longer_than_a_head(port: int) -> None:
    assert b"200 OK" in await reply(port, b"GET /600 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


async def test_a_large_body_is_no_head(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300000\r\n\r\n"
    assert b"200 OK" in await reply(port, head + b"x" * 300_000)


# -- what is left of a request, and of an answer ----------------------------------------------------------------------


async def test_the_rest_of_a_body_whose_request_is_answered_is_not_waited_for(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    async with asyncio.timeout(8):
        with pytest.raises(ConnectionError):
            await _drip(writer, b"5\r\nagain\r\n")


async def test_a_body_that_comes_after_its_answer_ends_nothing(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
    found = await reply(port, head, b"late", GOOD, pause=0.1)
    assert found.count(b"200 OK") == 2


async def test_a_request_that_came_with_another_may_take_its_time(port: int) -> None:
    head = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
    found = await reply(port, b"GET /100 HTTP/1.1\r\nhost: x\r\n\r\n" + head, b"late", pause=PATIENT)
    assert found.count(b"200 OK") == 2


async def test_who_sends_on_still_hears_that_he_is_refused(port: int) -> None:
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /close HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n")
        for _ in range(30):
            writer.write(b"x" * 100_000)
            await writer.drain()
        async with asyncio.timeout(8):
            found = await reader.read()
        assert found.startswith(b"HTTP/1.1 413 ")
        assert found.endswith(b"no")
        writer.close()


async def test_who_takes_nothing_is_cut_off(server: QuietServer, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(8):
        while not server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    writer.close()
