"""Pieces that arrive together are written together."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from functions.llm_answer.batching import batched


class ScriptedStream:
    """Gives its items as an event allows them, then raises what it was told to."""

    def __init__(self, items: str, error: Exception | None = None) -> None:
        self.items, self.error = items, error
        self.go = asyncio.Event()
        self.closed = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            for number, item in enumerate(self.items):
                if number:
                    await self.go.wait()
                yield item
            if self.error:
                raise self.error
        finally:
            self.closed = True


async def test_the_first_comes_at_once_and_the_rest_in_company() -> None:
    stream = ScriptedStream("abcd")
    batches = batched(stream(), 0.01)
    assert await anext(batches) == ["a"]
    stream.go.set()
    assert [batch async for batch in batches] == [["b", "c", "d"]]
    assert stream.closed


@pytest.mark.parametrize("items", ["", "a", "abc"])
async def test_an_error_comes_after_what_came_before_it(items: str) -> None:
    stream = ScriptedStream(items, ValueError("broken"))
    stream.go.set()
    seen: list[str] = []

    async def read() -> None:
        async for batch in batched(stream(), 0):
            seen.extend(batch)

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert "".join(seen) == items


async def test_closing_closes_the_stream() -> None:
    stream = ScriptedStream("ab")
    batches = batched(stream(), 0.01)
    await anext(batches)
    await batches.aclose()
    assert stream.closed


async def test_nothing_is_nothing() -> None:
    assert [batch async for batch in batched(ScriptedStream("")(), 0)] == []
