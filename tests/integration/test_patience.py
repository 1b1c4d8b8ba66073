"""Half-sent and endless heads of requests are not waited for; everything else is as uvicorn has it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from knts.patience import patient
from tests.conftest import QuietServer

GOOD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers after the time that its path names, in ms."""
    await asyncio.sleep(int(scope["path"].strip("/") or 0) / 1000)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest_asyncio.fixture
async def port(free_port: Any) -> AsyncIterator[int]:
    number = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=number, http=patient(0.2), lifespan="off", log_config=None)
    server = QuietServer(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield number
    server.should_exit = True
    await running


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


async def test_an_endless_head_is_refused(port: int) -> None:
    found = await reply(port, b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 8000 + b"\r\n"] * 20)
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")


async def test_an_answer_may_take_longer_than_a_head(port: int) -> None:
    assert b"200 OK" in await reply(port, b"GET /600 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


async def test_a_large_body_is_no_head(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300000\r\n\r\n"
    assert b"200 OK" in await reply(port, head + b"x" * 300_000)
