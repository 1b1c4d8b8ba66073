"""Makes few imports of many documents: a batch is what arrived while the one before was under way."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from knts.errors import Permanent, Temporary

Lines = Sequence[bytes]
Import = Callable[[Lines], Awaitable[list[str | None]]]


class Batches:
    """Imports lines of JSON for many callers at once; each learns what became of his own.

    A batch holds at most `most_documents` and, unless its first document alone is larger, `most_bytes`; at most
    `most_waiting` bytes wait.
    """

    def __init__(
        self,
        send: Import,
        *,
        most_documents: int = 500,
        most_bytes: int = 8 * 1024 * 1024,
        most_waiting: int = 256 * 1024 * 1024,
    ) -> None:
        self.send = send
        self.most_documents, self.most_bytes, self.most_waiting = most_documents, most_bytes, most_waiting
        self._waiting: deque[tuple[Lines, int, asyncio.Future[None]]] = deque()
        self._bytes = 0
        self._worker: asyncio.Task[None] | None = None

    async def add(self, lines: Lines) -> None:
        """Import one document's lines with whatever else is waiting.

        Raises Permanent when a line of it is refused, or the import is for this document alone; otherwise, for all of
        a batch, what the import raises; Temporary when too much is waiting already.
        """
        size = sum(map(len, lines))
        if self._waiting and self._bytes + size > self.most_waiting:
            raise Temporary("too many documents are waiting to be indexed", retry_after=2)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, size, done))
        self._bytes += size
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await done

    async def _work(self) -> None:
        while self._waiting:
            await self._import(self._next())

    async def _import(self, batch: list[tuple[Lines, asyncio.Future[None]]]) -> None:
        try:
            refusals = await self.send([line for lines, _ in batch for line in lines])
        except Permanent as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
            else:  # one of them spoils it for all: let each try alone
                for alone in batch:
                    await self._import([alone])
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller gets it
            for _, done in batch:
                _settle(done, error)
        else:
            for lines, done in batch:
                own, refusals = refusals[: len(lines)], refusals[len(lines) :]
                _settle(done, refused(own))

    def _next(self) -> list[tuple[Lines, asyncio.Future[None]]]:
        batch: list[tuple[Lines, asyncio.Future[None]]] = []
        total = 0
        while self._waiting and len(batch) < self.most_documents:
            lines, size, done = self._waiting[0]
            if batch and total + size > self.most_bytes:
                break
            self._waiting.popleft()
            self._bytes -= size
            total += size
            if not done.cancelled():  # its caller has gone before it was begun
                batch.append((lines, done))
        return batch

    async def finished(self) -> None:
        """Return when nothing is waiting or under way."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])


@contextlib.asynccontextmanager
async def batching(send: Import) -> AsyncIterator[Batches]:
    """Batches over `send`; what is under way is finished on exit."""
    batches = Batches(send)
    try:
        yield batches
    finally:
        await batches.finished()


def refused(refusals: Sequence[str | None]) -> Permanent | None:
    """The failure of a document some of whose lines were refused, naming the first."""
    for number, reason in enumerate(refusals):
        if reason is not None:
            rule = f"was refused by the index: {reason}"
            return Permanent(f"chunk {number} {rule}", errors=[{"field": f"chunk {number}", "rule": rule}])
    return None


def _settle(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.cancelled():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
