"""Batching: what arrives while an import runs is the next one, and every caller learns of his own lines."""

import asyncio
from collections.abc import Sequence

import pytest

from functions.index_document.batching import Batches, batching
from knts.errors import Permanent, Temporary


class ScriptedImport:
    """An import that waits for `go`, refuses lines that begin with `bad`, and fails when told to."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, lines: Sequence[bytes]) -> list[str | None]:
        self.sent.append(list(lines))
        await self.go.wait()
        if self.failure:
            raise self.failure
        if b"poison" in lines:
            raise Permanent("the whole request is refused")
        return [line.decode() if line.startswith(b"bad") else None for line in lines]


@pytest.fixture
def send() -> ScriptedImport:
    return ScriptedImport()


def started(batches: Batches, *documents: list[bytes]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(batches.add(lines)) for lines in documents]


async def results(tasks: list[asyncio.Task[None]]) -> list[type]:
    return [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_arrives_during_an_import_is_the_next_one(send: ScriptedImport) -> None:
    batches = Batches(send)
    tasks = started(batches, [b"a1", b"a2"])
    await turns()
    tasks += started(batches, [b"b"], [b"c1", b"c2"])
    await turns()
    assert send.sent == [[b"a1", b"a2"]]
    send.go.set()
    assert await results(tasks) == [type(None)] * 3
    assert send.sent == [[b"a1", b"a2"], [b"b", b"c1", b"c2"]]


async def test_each_document_is_answered_by_its_own_lines(send: ScriptedImport) -> None:
    send.go.set()
    tasks = started(Batches(send), [b"a", b"b"], [b"c", b"bad d", b"bad e"], [], [b"f"])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), Permanent, type(None), type(None)]
    assert "chunk 1" in str(outcomes[1])
    assert "bad d" in str(outcomes[1])


async def test_a_failed_import_fails_its_whole_batch_and_no_other(send: ScriptedImport) -> None:
    batches = Batches(send)
    send.failure = Temporary("gone")
    tasks = started(batches, [b"a"], [b"b"])
    send.go.set()
    assert await results(tasks) == [Temporary] * 2
    send.failure = None
    assert await results(started(batches, [b"c"])) == [type(None)]


async def test_a_document_that_spoils_the_whole_import_fails_alone(send: ScriptedImport) -> None:
    send.go.set()
    assert await results(started(Batches(send), [b"a"], [b"poison"], [b"c"])) == [type(None), Permanent, type(None)]


async def test_a_batch_is_bounded_in_documents_and_bytes(send: ScriptedImport) -> None:
    batches = Batches(send, most_documents=3, most_bytes=10)
    send.go.set()
    tasks = started(batches, *([[b"x"]] * 4), [b"y" * 9], [b"z" * 30], [b"w"])
    await results(tasks)
    assert [sum(map(len, sent)) for sent in send.sent] == [3, 10, 30, 1]


async def test_too_much_waiting_is_refused_for_now(send: ScriptedImport) -> None:
    batches = Batches(send, most_waiting=5)
    tasks = started(batches, [b"first"])
    await turns()
    tasks += started(batches, [b"more"], [b"over"])
    await turns()
    send.go.set()
    assert await results(tasks) == [type(None), type(None), Temporary]


async def test_a_caller_who_has_gone_disturbs_nobody(send: ScriptedImport) -> None:
    batches = Batches(send)
    tasks = started(batches, [b"a"])
    await turns()
    tasks += started(batches, [b"b"], [b"c"])
    await turns()
    tasks[0].cancel()
    tasks[1].cancel()
    await turns()
    send.go.set()
    assert await results(tasks) == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
    assert send.sent == [[b"a"], [b"c"]]


async def test_what_is_under_way_is_finished_at_the_end(send: ScriptedImport) -> None:
    async with batching(send) as batches:
        tasks = started(batches, [b"a"], [b"b"])
        await turns()
        send.go.set()
    assert all(task.done() or send.sent == [[b"a", b"b"]] for task in tasks)
    assert await results(tasks) == [type(None)] * 2
