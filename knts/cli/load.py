"""`knts load`: documents to the server, some at a time, and the wait until they can be searched."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from knts.cli.api import document_path
from knts.cli.errors import Answered, CommandError, NoConnection
from knts.cli.extract import Document, Refused
from knts.cli.files import Report, Source, Wishes, body, documents, sources

FIRST_POLL, LAST_POLL = 0.1, 1.0  # seconds between two looks at a document that is not indexed yet


class Server(Protocol):
    """The part of `Api` that loading needs."""

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON reply to a JSON request."""


class Loader:
    """Sends documents, some at a time, and follows each until it is indexed. `tell` hears of every step."""

    def __init__(self, server: Server, wishes: Wishes, report: Report, tell: Callable[[Report], None]) -> None:
        self.server = server
        self.wishes = wishes
        self.report = report
        self.tell = tell
        self.progressed = time.monotonic()
        self.sending: asyncio.Queue[Document | None] = asyncio.Queue(2 * wishes.concurrency)
        self.waiting: asyncio.Queue[tuple[str, int] | None] = asyncio.Queue()

    async def run(self, files: Sequence[Source]) -> Report:
        """Load the files. Raises NoConnection when the server is gone; what it refuses stands in the report."""
        started = time.monotonic()
        crew = self.wishes.concurrency
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(files))
            senders = [tasks.create_task(self._each(self.sending, self._send)) for _ in range(crew)]
            for _ in range(crew if self.wishes.wait else 0):
                tasks.create_task(self._each(self.waiting, self._follow))
            await asyncio.gather(*senders)
            for _ in range(crew):
                self.waiting.put_nowait(None)
        self.report.seconds = round(time.monotonic() - started, 2)
        return self.report

    async def _read(self, files: Sequence[Source]) -> None:
        for source in files:
            for document in await asyncio.to_thread(documents, source):
                if isinstance(document, Refused):
                    self._refused(source.id, str(document))
                else:
                    self.report.found += 1
                    await self.sending.put(document)
        for _ in range(self.wishes.concurrency):
            await self.sending.put(None)

    async def _each(self, queue: "asyncio.Queue[Any]", work: Callable[[Any], Awaitable[None]]) -> None:
        while (item := await queue.get()) is not None:
            await work(item)
            self.tell(self.report)

    async def _send(self, document: Document) -> None:
        document_id = self.wishes.prefix + document.id
        try:
            document_id, named = body(document, self.wishes)
            reply = await self._patiently("PUT", document_path(document_id), named)
        except (Refused, Answered) as error:
            self._refused(document_id, str(error))
            return
        self.report.sent += 1
        self._progress()
        self.waiting.put_nowait((document_id, int(reply["version"])))

    async def _patiently(self, method: str, path: str, named: Any = None) -> Any:
        """A request that is made again while the server is busy, or gone after it has been there."""
        while True:
            try:
                return await self.server.json(method, path, named)
            except NoConnection:
                if not self.report.sent or self._out_of_patience():
                    raise
                await asyncio.sleep(1.0)
            except Answered as error:
                if error.status not in (429, 503) or self._out_of_patience():
                    raise
                await asyncio.sleep(min(error.retry_after or 1.0, 10.0))

    async def _follow(self, sent: tuple[str, int]) -> None:
        document_id, version = sent
        pause = FIRST_POLL
        while True:
            record = await self._record(document_id)
            if record["version"] >= version and record["status"] != "pending":
                self._ended(document_id, record)
                return
            if self._out_of_patience():
                self.report.pending.append(document_id)
                return
            await asyncio.sleep(pause)
            pause = min(LAST_POLL, pause * 1.5)

    async def _record(self, document_id: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self._patiently("GET", document_path(document_id))
        except Answered as error:
            if error.status != 404:
                raise CommandError(str(error)) from error
            return {"version": 0, "status": "pending"}  # its event is still on its way
        return found

    def _ended(self, document_id: str, record: dict[str, Any]) -> None:
        if record["status"] == "indexed":
            self.report.indexed += 1
            self._progress()
        elif record["status"] == "removed":
            self._refused(document_id, "was removed meanwhile")
        else:
            self._refused(document_id, str(record.get("reason") or record["status"]))

    def _refused(self, name: str, why: str) -> None:
        self.report.refuse(name, why)
        self._progress()
        self.tell(self.report)

    def _progress(self) -> None:
        self.progressed = time.monotonic()

    def _out_of_patience(self) -> bool:
        return time.monotonic() - self.progressed > self.wishes.patience


async def load(
    server: Server, paths: Sequence[str], wishes: Wishes, tell: Callable[[Report], None] = lambda _: None
) -> Report:
    """Load files, folders and patterns; the report says what became of each.

    Raises NoConnection when the server can't be reached, CommandError when it fails.
    """
    report = Report()
    files = await asyncio.to_thread(sources, paths, report)
    try:
        return await Loader(server, wishes, report, tell).run(files)
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell of: a lost connection before anything that it led to."""
    flat = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in flat if isinstance(error, NoConnection)), flat[0])
