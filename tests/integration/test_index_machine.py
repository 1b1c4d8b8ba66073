"""index-document under any order, duplication, crash, pause and concurrency, against an oracle that takes the versions
in order; on a real Valkey and a real Typesense, with the handlers and clients of the function itself.

A failing run is printed as the steps that lead to it, with the blob that repeats it (`@reproduce_failure`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from functions.index_document import documents
from functions.search.query import parse
from functions.search.retrieval import Wanted, find
from knts import events
from knts.clients.rebuild import rebuild
from knts.clients.records import document_key
from knts.clients.redis import connected
from knts.events import Event
from knts.lookup import Scope
from knts.settings import TypesenseServer
from tests.integration.indexing import Parts, opened
from tests.integration.stepping import BORDERS, Crash, Delivery
from tests.searching import NothingRemembered

DOCUMENTS = st.sampled_from(["a", "a", "a", "b"])  # what happens to one document is what is hard
VERSIONS = st.integers(1, 4)
CONTENTS = st.sampled_from(["one", "two", "gone"])
CHANGES = st.tuples(DOCUMENTS, VERSIONS, CONTENTS)
MOMENTS = st.integers(0, BORDERS)
LENGTHS = {"one": 1, "two": 70}  # sentences: one passage, and several


class IndexMachine(RuleBasedStateMachine):
    """Deliveries of a few versions of two documents. The model is what was delivered, and what each claim decided."""

    sent = Bundle("sent")
    paused = Bundle("paused")

    def __init__(self, redis_url: str, server: TypesenseServer) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.open = AsyncExitStack()
        self.parts: Parts = self.run(self._opened(redis_url, server))
        self.numbered = 0
        self.turns = asyncio.Lock()
        self.under_way: dict[Delivery, asyncio.Task[Event | None]] = {}
        self.undone: dict[str, Event] = {}  # deliveries that died, which a Broker makes again
        self.replies: dict[str, Event] = {}
        self.forget()

    def forget(self) -> None:
        """Nothing is known of any document any more."""
        self.delivered: dict[str, list[Event]] = defaultdict(list)
        self.winners: dict[tuple[str, int], str] = {}  # the content that a version was claimed for
        self.current: dict[str, tuple[int, str]] = {}  # version and content that were made current last
        self.replies.clear()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    async def _opened(self, redis_url: str, server: TypesenseServer) -> Parts:
        redis = await self.open.enter_async_context(connected(redis_url))
        await redis.flushall()
        return await self.open.enter_async_context(opened(redis, server))

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(target=sent, change=CHANGES)
    def deliver(self, change: tuple[str, int, str]) -> Event:
        event = self.event(*change)
        self.run(self.delivery_alone(event))
        return event

    @rule(event=sent)
    def redeliver(self, event: Event) -> None:
        self.run(self.delivery_alone(event))

    @rule(target=sent, change=CHANGES, border=MOMENTS, half=st.booleans(), again=st.booleans())
    def crash(self, change: tuple[str, int, str], border: int, half: bool, again: bool) -> Event:
        event = self.event(*change)
        self.run(self.dying(event, border, half))
        if again:
            self.run(self.delivery_alone(event))
        return event

    @rule(event=sent, border=MOMENTS, half=st.booleans())
    def crash_in_a_redelivery(self, event: Event, border: int, half: bool) -> None:
        self.run(self.dying(event, border, half))

    @rule(target=paused, change=CHANGES, border=MOMENTS)
    def pause(self, change: tuple[str, int, str], border: int) -> Delivery:
        return self.run(self.stopped(self.event(*change), border))  # type: ignore[no-any-return]

    @rule(target=paused, event=sent, border=MOMENTS)
    def pause_in_a_redelivery(self, event: Event, border: int) -> Delivery:
        return self.run(self.stopped(event, border))  # type: ignore[no-any-return]

    @rule(target=sent, delivery=consumes(paused))
    def resume_paused(self, delivery: Delivery) -> Event:
        return self.resume(delivery)

    @rule(target=sent, delivery=consumes(paused), further=MOMENTS)
    def resume_paused_and_crash(self, delivery: Delivery, further: int) -> Event:
        return self.resume_and_crash(delivery, further)

    def resume(self, delivery: Delivery) -> Event:
        if delivery in self.under_way:  # it may have gone on already, while all came to rest
            self.run(self.finished(delivery))
        return delivery.event

    def resume_and_crash(self, delivery: Delivery, further: int) -> Event:
        if delivery in self.under_way:
            delivery.fate, delivery.border = "crash", delivery.passed + further
            self.run(self.finished(delivery))
        return delivery.event

    @rule(target=sent, change=CHANGES, newer=CONTENTS, border=MOMENTS, dies_after=st.none() | MOMENTS)
    def overtake(self, change: tuple[str, int, str], newer: str, border: int, dies_after: int | None) -> Event:
        """A writer stands still while a newer version comes; then it goes on, perhaps to die before its end."""
        document_id, version, content = change
        slow = self.run(self.stopped(self.event(document_id, version, content), border))
        self.run(self.delivery_alone(self.event(document_id, version + 1, newer)))
        if dies_after is None:
            return self.resume(slow)
        return self.resume_and_crash(slow, dies_after)

    @rule(target=sent, changes=st.tuples(CHANGES, CHANGES), same=st.booleans())
    def two_at_once(self, changes: tuple[tuple[str, int, str], tuple[str, int, str]], same: bool) -> Event:
        first = self.event(*changes[0])
        self.run(self.at_once(first, first if same else self.event(*changes[1])))
        return first

    @precondition(lambda self: self.delivered)
    @rule()
    def settle(self) -> None:
        """Whoever waits goes on, what died is delivered again: all is as the oracle says."""
        self.run(self.quiet())

    @precondition(lambda self: self.delivered)
    @rule()
    def lose_all_records_and_rebuild_them(self) -> None:
        self.run(self.rebuilt())

    # -- how it happens -----------------------------------------------------------------------------------------------

    def event(self, document_id: str, version: int, content: str) -> Event:
        """A new event, as if published again under another id where the same was before."""
        self.numbered += 1
        data: dict[str, Any] = {"id": document_id, "version": version}
        if content != "gone":
            text = f"Version {version} of {document_id} says {content}. " * LENGTHS[content]
            data |= {"title": "Title", "text": text, "url": f"/{content}"}
        kind = events.DOCUMENT_DELETED if content == "gone" else events.DOCUMENT_UPSERTED
        return events.new_event(kind, "/tests", data, id=str(self.numbered), tenant="t")

    def begun(self, event: Event, **how: Any) -> Delivery:
        if event not in self.delivered[event.payload["id"]]:
            self.delivered[event.payload["id"]].append(event)
        return Delivery(event, self.parts, self.told, turns=self.turns, **how)

    def told(self, step: str, event: Event, outcome: Any) -> None:
        """Hold every step's outcome to the model."""
        about = documents.version(event)
        won = self.winners.get((about.id, about.number))
        version, content = self.current.get(about.id, (0, ""))
        if step == "claim":
            assert outcome == self.claims(event)
            if outcome == "claimed":
                self.winners[about.id, about.number] = about.content_hash
        elif step == "raise_to":
            assert won == about.content_hash
            if about.number > version:
                assert outcome in ("first", "raised")
                self.current[about.id] = (about.number, about.content_hash)
            else:
                assert outcome == (
                    "again" if (about.number, about.content_hash) == (version, content) else "superseded"
                )

    def claims(self, event: Event) -> str:
        """What a claim must say now."""
        about = documents.version(event)
        if about.number < self.current.get(about.id, (0, ""))[0]:
            return "superseded"
        won = self.winners.get((about.id, about.number), about.content_hash)
        return "claimed" if won == about.content_hash else "conflict"

    async def delivery_alone(self, event: Event) -> None:
        """A delivery while all others stand still: its reply can be told beforehand."""
        wanted = self.claims(event)
        reply = await self.begun(event).run()
        self.undone.pop(event.id, None)
        self.replied(event, reply)
        done = events.DOCUMENT_INDEXED if event.type == events.DOCUMENT_UPSERTED else events.DOCUMENT_REMOVED
        types = {"superseded": None, "conflict": events.DOCUMENT_REJECTED, "claimed": done}
        assert (reply and reply.type) == types[wanted]

    def replied(self, event: Event, reply: Event | None) -> None:
        """An event has one reply, or none while a higher version stands."""
        about = documents.version(event)
        if reply is None:
            assert about.number < self.current[about.id][0]
            return
        assert self.replies.setdefault(event.id, reply) == reply
        rejected = self.winners[about.id, about.number] != about.content_hash
        assert (reply.type == events.DOCUMENT_REJECTED) == rejected

    async def dying(self, event: Event, border: int, half: bool) -> None:
        await self.finished(self.begun(event, fate="crash", border=border, half=half))

    async def stopped(self, event: Event, border: int) -> Delivery:
        delivery = self.begun(event, fate="pause", border=border)
        self.under_way[delivery] = asyncio.create_task(delivery.run())
        waiting = asyncio.create_task(delivery.stopped.wait())
        await asyncio.wait([self.under_way[delivery], waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return delivery

    async def finished(self, delivery: Delivery) -> None:
        delivery.go_on.set()
        work = self.under_way.pop(delivery, None)
        try:
            reply = await (work or delivery.run())
        except Crash:
            self.undone[delivery.event.id] = delivery.event
        else:
            self.replied(delivery.event, reply)

    async def at_once(self, *several: Event) -> None:
        deliveries = [self.begun(event) for event in several]
        for event, reply in zip(several, await asyncio.gather(*(each.run() for each in deliveries)), strict=True):
            self.replied(event, reply)

    async def quiet(self) -> None:
        for delivery in list(self.under_way):
            await self.finished(delivery)
        for event in list(self.undone.values()):
            await self.delivery_alone(event)
        for document_id in self.delivered:
            await self.as_in_order(document_id)

    async def rebuilt(self) -> None:
        await self.quiet()
        kept = dict(self.current)
        redis = self.parts.records.redis
        await redis.delete(*(document_key("t", document_id) for document_id in self.delivered))
        shown = {event.payload["id"]: event for event in map(self.expected, self.delivered) if event}
        assert await rebuild(self.parts.chunks.typesense, self.parts.records) == len(shown)
        self.forget()
        for document_id, event in shown.items():
            self.delivered[document_id].append(event)
            self.current[document_id] = kept[document_id]
            self.winners[document_id, kept[document_id][0]] = kept[document_id][1]
            await self.as_in_order(document_id)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def expected(self, document_id: str) -> Event | None:
        """The event whose content the index shows when it takes all in the order of versions; None for a removal."""
        highest = max(event.payload["version"] for event in self.delivered[document_id])
        winner = self.winners[document_id, highest]
        said = [event for event in self.delivered[document_id] if documents.version(event).content_hash == winner]
        event = next(event for event in said if event.payload["version"] == highest)
        return event if event.type == events.DOCUMENT_UPSERTED else None

    async def as_in_order(self, document_id: str) -> None:
        """Record, chunks and text are what the in-order oracle says."""
        several = self.delivered[document_id]
        record = await self.parts.records.get("t", document_id)
        assert record is not None
        assert (record.version, record.assigned) == (max(event.payload["version"] for event in several),) * 2
        event = self.expected(document_id)
        if event is None:
            assert (record.status, record.indexed, record.chunks) == ("removed", 0, 0)
            assert await self.parts.stored(document_id) == []
            return
        assert (record.status, record.indexed, record.url) == ("indexed", record.version, event.payload["url"])
        assert record.content_hash == documents.version(event).content_hash
        stored = await self.parts.stored(document_id)
        assert [chunk["id"] for chunk in stored] == chunk_ids(event)
        text = await self.parts.chunks.text("t", document_id, record.version, record.chunks)
        assert text == event.payload["text"]
        await self.removals_are_known(document_id, record.version)

    async def removals_are_known(self, document_id: str, version: int) -> None:
        """The last removal before the current version is noted, however late it came: what was quoted stays withheld.

        Where an upsert of the same version was there as well, whichever came first may stand.
        """
        earlier = [event for event in self.delivered[document_id] if event.payload["version"] < version]
        gone = {event.payload["version"] for event in earlier if event.type == events.DOCUMENT_DELETED}
        upserted = {event.payload["version"] for event in earlier if event.type == events.DOCUMENT_UPSERTED}
        found = (await self.parts.records.readable("t", [], [document_id]))[document_id]
        assert found.removed in gone | {0}
        assert found.removed >= max(gone - upserted, default=0)

    @invariant()
    def only_current_versions_are_visible(self) -> None:
        """At any time: of a current version all chunks are there, and a search shows nothing else."""
        self.run(self.visible())

    async def visible(self) -> None:
        current = await self.parts.records.current("t", ["a", "b"])
        shown: set[str] = set()
        for document_id, (version, content) in self.current.items():
            event = next(each for each in self.delivered[document_id] if is_content(each, version, content))
            removed = event.type == events.DOCUMENT_DELETED
            assert current.get(document_id) == (None if removed else version)
            if not removed:
                stored = await self.parts.stored(document_id)
                assert [chunk["id"] for chunk in stored if chunk["version"] == version] == chunk_ids(event)
                shown.update(chunk_ids(event))
        if self.delivered:
            scope = Scope("t", (), {})
            search = NothingRemembered(self.parts.chunks.typesense)
            page = await find(search, self.parts.records, scope, parse("says"), Wanted(limit=100))
            assert {hit.chunk.id for hit in page.hits} == shown

    def teardown(self) -> None:
        try:
            self.run(self.quiet())
        finally:
            self.run(self._closed())
            self.loop.close()

    async def _closed(self) -> None:
        for delivery, work in self.under_way.items():
            delivery.fate, delivery.border = "crash", 0
            delivery.go_on.set()
            await asyncio.wait([work])
        chunks = self.parts.chunks
        await chunks.collection.ensure()
        path = f"/collections/{chunks.typesense.server.collection}/documents"
        await chunks.typesense.call("DELETE", path, params={"filter_by": "version:>0"})
        await self.open.aclose()


def is_content(event: Event, version: int, content: str) -> bool:
    about = documents.version(event)
    return (about.number, about.content_hash) == (version, content)


def chunk_ids(event: Event) -> list[str]:
    return [orjson.loads(line)["id"] for line in documents.chunks(event)]


@pytest.mark.timeout(600)  # only a failing run takes that long: its steps are made fewer
def test_the_highest_version_wins_whatever_happens(durable_server: str, typesense_server: TypesenseServer) -> None:
    run_state_machine_as_test(
        partial(IndexMachine, durable_server, typesense_server),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
