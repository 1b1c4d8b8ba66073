"""The index-document function when things go wrong: any order, crashes, pauses, races, servers that fail."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from functions.index_document import handler
from functions.index_document.batching import Batches
from functions.index_document.main import Index
from knts import events
from knts.clients.chunks import Chunks
from knts.clients.rebuild import rebuild
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.clients.typesense import Typesense
from knts.errors import Temporary
from knts.settings import TypesenseServer
from tests.integration.indexing import Parts, deleted, opened, upserted

Step = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture
async def parts(redis: Redis, typesense_server: TypesenseServer) -> AsyncIterator[Parts]:
    async with opened(redis, typesense_server) as parts:
        yield parts


async def test_highest_version_wins_in_any_order_with_duplicates(parts: Parts) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    history = [
        deleted(f"d{document}", number)
        if chance.random() < 0.25
        else upserted(f"d{document}", number, f"v{number} " * chance.choice([1, 900]))
        for document in range(12)
        for number in range(1, 9)
    ]
    expected = {event.payload["id"]: event for event in history}  # in order, so the last of each is its highest
    deliveries = history + chance.choices(history, k=150)
    chance.shuffle(deliveries)
    for start in range(0, len(deliveries), 40):
        await asyncio.gather(*map(parts.deliver, deliveries[start : start + 40]))
    current = await parts.records.current("t", expected)
    for document_id, event in expected.items():
        versions = {chunk["version"] for chunk in await parts.stored(document_id)}
        if event.type == events.DOCUMENT_DELETED:
            assert (versions, current.get(document_id)) == (set(), None)
        else:
            assert (versions, current[document_id]) == ({8}, 8)
            record = await parts.records.get("t", document_id)
            assert record is not None
            assert await parts.chunks.text("t", document_id, 8, record.chunks) == event.payload["text"]


class Crash(BaseException):
    """The process dies here."""


STEPS = ["claim", "replace_token", "add", "raise_to", "drop_older", "drop_up_to"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_step_is_cured_by_the_next_delivery(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    await parts.deliver(upserted("d", 1, "one. " * 400))
    await parts.deliver(upserted("e", 1, "one"))
    later = [upserted("d", 2, "two. " * 300), deleted("e", 2)]
    owner: Any = parts.records if hasattr(parts.records, step) else parts.index
    real: Step = getattr(owner, step)

    async def dying(*args: Any, **more: Any) -> Any:
        if when == "after":
            await real(*args, **more)
        raise Crash

    crashed = 0
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, dying)
        for event in later:
            try:
                await parts.deliver(event)
            except Crash:
                crashed += 1
    assert crashed
    replies = [await parts.deliver(event) for event in later]
    assert [reply.payload["version"] for reply in replies if reply] == [2, 2]
    assert {chunk["version"] for chunk in await parts.stored("d")} == {2}
    assert await parts.stored("e") == []
    assert await parts.records.current("t", ["d", "e"]) == {"d": 2}
    assert [await parts.deliver(event) for event in later] == replies


@pytest.mark.parametrize("step", ["add", "raise_to"])
async def test_a_paused_writer_resurrects_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    owner: Any = parts.index if step == "add" else parts.records
    real: Step = getattr(owner, step)

    async def pausing(*args: Any, **more: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await real(*args, **more)

    await parts.deliver(upserted("e", 1))
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, pausing)
        paused = asyncio.create_task(parts.deliver(upserted("d", 1, "paused. " * 400)))
        await reached.wait()
    await parts.deliver(upserted("d", 2, "newer"))
    await parts.deliver(deleted("d", 3))
    go_on.set()
    assert await paused is None
    assert await parts.stored("d") == []
    assert await parts.records.current("t", ["d"]) == {}


async def test_what_a_dead_writer_left_behind_goes_with_its_redelivery(parts: Parts) -> None:
    stuck = upserted("d", 1, "stuck")
    claimed = await parts.records.claim("t", "d", 1, handler.version(stuck).content_hash)
    assert claimed == "claimed"
    await parts.deliver(upserted("d", 2, "newer"))
    await parts.index.add(handler.chunks(stuck))
    assert {chunk["version"] for chunk in await parts.stored("d")} == {1, 2}
    assert await parts.deliver(stuck) is None
    assert {chunk["version"] for chunk in await parts.stored("d")} == {2}


async def test_what_a_refused_content_left_behind_goes_with_the_next_one(parts: Parts) -> None:
    bad, good = upserted("d", 1, "bad. " * 400), upserted("d", 1, "good")
    about = handler.version(bad)
    await parts.records.claim("t", "d", 1, about.content_hash)
    await parts.index.add(handler.chunks(bad)[:1])
    await parts.records.refuse("t", "d", 1, "the index refuses its second chunk", about.content_hash)
    assert await parts.deliver(good) is not None  # the writer of the other one died before it had deleted its chunk
    assert [chunk["text"] for chunk in await parts.stored("d")] == ["good"]


async def test_typesense_gone_is_temporary_and_taken_up_later(
    redis: Redis, typesense_server: TypesenseServer, free_port: Callable[[], int]
) -> None:
    nowhere = TypesenseServer(url=f"http://127.0.0.1:{free_port()}", api_key="k", collection="c", timeout=1.0)
    event = upserted("d", 1)
    for server, what in ((nowhere, Temporary), (typesense_server, None)):
        async with Typesense(server) as typesense:
            chunks = Chunks(typesense)
            parts = Parts(Records(redis), chunks, Index(chunks, Batches(chunks.add)))
            with pytest.raises(what) if what else contextlib.nullcontext():
                assert await parts.deliver(event) is not None
            assert (await parts.records.get("t", "d")).status == ("pending" if what else "indexed")  # type: ignore[union-attr]


async def test_a_typesense_that_takes_no_writes_is_temporary(parts: Parts) -> None:
    await parts.deliver(upserted("d", 1))
    await parts.deliver(upserted("e", 1))
    later = [upserted("d", 2), deleted("e", 2)]
    try:
        await parts.chunks.typesense.request("POST", "/config", json={"skip-writes": True})
        for event in later:
            with pytest.raises(Temporary, match="takes no writes"):
                await parts.deliver(event)
    finally:
        await parts.chunks.typesense.request("POST", "/config", json={"skip-writes": False})
    assert [reply is not None for reply in [await parts.deliver(event) for event in later]] == [True, True]
    assert {chunk["version"] for chunk in await parts.stored("d")} == {2}
    assert await parts.stored("e") == []


async def test_a_bad_key_is_temporary_since_an_operator_can_mend_it(typesense_server: TypesenseServer) -> None:
    server = TypesenseServer(url=typesense_server.url, api_key="wrong", collection=typesense_server.collection)
    async with Typesense(server) as typesense:
        with pytest.raises(Temporary, match="key"):
            await Chunks(typesense).add([b"{}"])
        with pytest.raises(Temporary, match="TYPESENSE_API_KEY"):
            await typesense.request("GET", "/collections")


async def test_replicas_may_race_to_create_the_collection(typesense_server: TypesenseServer) -> None:
    line = handler.chunks(upserted("d", 1))
    async with contextlib.AsyncExitStack() as stack:
        replicas = [Chunks(await stack.enter_async_context(Typesense(typesense_server))) for _ in range(8)]
        assert await asyncio.gather(*(replica.add(line) for replica in replicas)) == [[None]] * 8


async def test_a_dropped_collection_is_made_again(parts: Parts) -> None:
    await parts.deliver(upserted("d", 1))
    name = parts.chunks.typesense.server.collection
    target = (await parts.chunks.typesense.request("GET", f"/aliases/{name}"))["collection_name"]
    await parts.chunks.typesense.request("DELETE", f"/collections/{target}")
    await parts.deliver(deleted("e", 1))
    with contextlib.suppress(Temporary):
        await parts.deliver(upserted("d", 1))
    assert await parts.deliver(upserted("d", 1)) is not None
    assert len(await parts.stored("d")) == 1


async def test_lost_records_are_rebuilt_from_the_index(parts: Parts, redis: Redis) -> None:
    await parts.deliver(upserted("d", 1, "one. " * 400))
    await parts.deliver(upserted("d", 7, "two. " * 400, acl=["staff", "ä"], url="/d"))
    await parts.deliver(upserted("e", 2))
    await parts.deliver(upserted("gone", 1))
    await parts.deliver(deleted("gone", 2))
    half = handler.chunks(upserted("e", 3, "half. " * 400))
    await parts.index.add(half[:-1])
    before = [await parts.records.get("t", document_id) for document_id in ("d", "e")]
    await redis.flushall()
    assert await rebuild(parts.chunks.typesense, parts.records) == 2
    after = [await parts.records.get("t", document_id) for document_id in ("d", "e")]
    assert [replace(record, updated="") for record in after if record] == [
        replace(record, updated="") for record in before if record
    ]
    assert [record.document_id for record in (await parts.records.listing("t", ["staff"]))[0]] == ["d", "e"]
    await parts.deliver(upserted("d", 8))
    assert await rebuild(parts.chunks.typesense, parts.records) == 2
    assert await parts.records.current("t", ["d", "e", "gone"]) == {"d": 8, "e": 2}


async def test_a_rebuild_deletes_what_a_later_version_has_replaced(parts: Parts, redis: Redis) -> None:
    """The records were lost, and an older event came again before they were rebuilt."""
    await parts.deliver(upserted("d", 5, "five. " * 400))
    await parts.deliver(upserted("e", 1))
    await redis.flushall()
    token = await parts.records.token("t")
    await parts.deliver(upserted("d", 3, "three. " * 400))
    assert {chunk["version"] for chunk in await parts.stored("d")} == {3, 5}
    assert await parts.records.token("t") != token
    during = await parts.records.token("t")
    assert await rebuild(parts.chunks.typesense, parts.records) == 2
    assert {chunk["version"] for chunk in await parts.stored("d")} == {5}
    assert await parts.records.current("t", ["d", "e"]) == {"d": 5, "e": 1}
    assert await parts.records.token("t") != during, "no answer from before is found any more"
