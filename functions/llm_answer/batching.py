"""Pieces of a stream in batches: what arrives within a moment, or while the last was dealt with, goes together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def batched(stream: AsyncGenerator[T, None], window: float) -> AsyncGenerator[list[T], None]:
    """The items of `stream`, which is read ahead in a task of its own, in lists that are never empty.

    The first item comes at once; later ones wait up to `window` seconds for company. An error of the stream is raised
    after what came before it. Closing this closes the stream.
    """
    arrived: asyncio.Queue[T | None] = asyncio.Queue()
    reader = asyncio.create_task(_read(stream, arrived))
    reader.add_done_callback(lambda _: arrived.put_nowait(None))
    try:
        first = True
        while (item := await arrived.get()) is not None:
            if not first:
                await asyncio.sleep(window)
            first = False
            batch = [item]
            while not arrived.empty() and (item := arrived.get_nowait()) is not None:
                batch.append(item)
            yield batch
            if item is None:
                break
        await reader
    finally:
        reader.cancel()
        await asyncio.wait([reader])


async def _read(stream: AsyncGenerator[T, None], arrived: asyncio.Queue[T | None]) -> None:
    async with contextlib.aclosing(stream):
        async for item in stream:
            arrived.put_nowait(item)
