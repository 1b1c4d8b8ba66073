"""Room for the bodies of requests: what all that are not small may take of one process's memory together.

A server that only bounds each body is filled by many at once. Here they wait in turn, within their deadlines, while
small ones, such as questions, are never kept waiting.
"""

import asyncio
from collections import deque

SMALL = 64 * 1024  # bytes that a body may have without waiting
ROOM = 48 * 1024 * 1024


class Room:
    """`size` bytes, given to tasks in the order they asked, and taken back when they end."""

    def __init__(self, size: int = ROOM) -> None:
        self.free = self.size = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait for room for a body of so many bytes; it is held until the current task, a request's, has ended.

        One that is larger than all there is waits until nobody else holds any.
        """
        if size <= SMALL:
            return
        size = min(size, self.size)
        if self._waiting or self.free < size:
            await self._turn(size)
        else:
            self.free -= size
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that is awaited has one
        task.add_done_callback(lambda _: self._give(size))

    async def _turn(self, size: int) -> None:
        turn = (size, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        try:
            await turn[1]
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._give(0)  # whoever stands behind may need less
            elif not turn[1].cancelled():
                self._give(size)  # it came together with the cancellation
            raise

    def _give(self, size: int) -> None:
        self.free += size
        while self._waiting and self._waiting[0][0] <= self.free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)


room = Room()  # this process's
