"""Whose turn it is at the packaged embedding model, with a fake in place of its weights."""

import asyncio
import os
import threading
from typing import Any

import pytest

from knts.local.model import embedder
from knts.local.model.embedder import NICE, SHORT, Embedder

LONG = "a long passage " * SHORT


class FakeModel:
    """Notes how far each text's thread yields to others; a long one waits until it is let go."""

    def __init__(self) -> None:
        self.niceness: list[int] = []
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def embed(self, text: str) -> tuple[list[float], int]:
        self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        if len(text) > SHORT:
            self.begun.release()
            assert self.go.wait(30)
        return [1.0], 1


async def test_passages_take_all_cores_and_yield_while_a_query_waits_for_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedder.os, "cpu_count", lambda: 3)
    fake: Any = FakeModel()
    serving = Embedder(fake)
    passages = [asyncio.create_task(serving._embedded([LONG])) for _ in range(3)]
    for _ in passages:
        assert await asyncio.to_thread(fake.begun.acquire, timeout=30)
    assert fake.niceness == [NICE] * 3
    async with asyncio.timeout(30):
        assert await serving._embedded(["a query"]) == [([1.0], 1)]
    assert fake.niceness[-1] == os.getpriority(os.PRIO_PROCESS, 0)
    fake.go.set()
    assert await asyncio.gather(*passages) == [[([1.0], 1)]] * 3
