"""llm-answer in a process of its own that is told to stop, or killed, while it writes an answer."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from knts import channel, events
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import Redis
from tests.answering import found, passage, until
from tests.conftest import SIGNING_KEY
from tests.scripted_ollama import WAIT_FOREVER, ScriptedOllama, line


@contextlib.asynccontextmanager
async def process(port: int, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """llm-answer under `python -m knts.serve`, ready; killed at the end if it still runs."""
    named = {"FUNCTION_TARGET": "llm-answer", "PORT": str(port), "KNTS_HOST": "127.0.0.1"}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "knts.serve",
        cwd=Path(__file__).parents[2],
        env={**os.environ, **named, "KNTS_SIGNING_KEY": SIGNING_KEY, "KNTS_SHUTDOWN_GRACE": "1", **env},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _ready(port), 30)
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def _ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def deliver(port: int) -> int | None:
    """One delivery of the ask's event: its status, or None when the connection broke."""
    headers, body = events.to_http(events.signed(found("a1", passage()), [SIGNING_KEY]))
    try:
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
            return response.status
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_leader_that_ends_leaves_its_flight_open_for_the_next(
    number: signal.Signals, redis: Redis, redis_url: str, redis_cache_url: str, free_port: Callable[[], int]
) -> None:
    chan, records = Channel(redis), Records(redis)
    await records.claim("local", "hamlet", 1, "h" * 64)
    await records.raise_to("local", "hamlet", 1, "h" * 64, status="indexed")
    await chan.open("a1", {"id": "a1"}, tenant="local", owner="local")
    async with ScriptedOllama().serving() as ollama:
        ollama.scripts = [[line("It is"), WAIT_FOREVER]]
        env = {"REDIS_URL": redis_url, "REDIS_CACHE_URL": redis_cache_url, "OLLAMA_URL": ollama.url}
        port = free_port()
        async with process(port, OLLAMA_MODEL="small", **env) as running:
            delivery = asyncio.create_task(deliver(port))
            await asyncio.wait_for(ollama.streaming.wait(), 10)
            flight = (await chan.ask("a1") or {})["flight"]
            await until(lambda: redis.xlen(channel.flow_key(flight)))
            running.send_signal(number)
            status = await asyncio.wait_for(running.wait(), 20)
        assert await asyncio.wait_for(delivery, 5) not in (200, 202)  # so that the Broker tries again
        await asyncio.wait_for(ollama.cut.wait(), 5)
        assert await redis.pttl(f"knts:lease:{flight}") <= 5000  # of a killed one it runs out
        if number == signal.SIGTERM:
            assert status == 0
            assert await redis.exists(f"knts:lease:{flight}") == 0
        assert [frame.type for frame in await chan.frames(channel.flow_key(flight))] == ["delta"]
        assert await redis.exists(f"knts:flight-final:{flight}") == 0
