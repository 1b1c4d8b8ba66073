"""Passages get their embeddings after they are searchable, on a real Typesense and a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from functions.index_document import handler
from functions.index_document.batching import Batches
from functions.index_document.embedding import Worker
from functions.index_document.main import Index, Meanings
from functions.search import meaning as search
from functions.search.query import parse
from functions.search.retrieval import Wanted, find
from knts.clients.chunks import Chunks
from knts.clients.embedder import EmbedderAway
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.clients.reindexing import reindex
from knts.clients.typesense import Typesense
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.embeddings import Model, normalised
from knts.events import Event
from knts.lookup import Scope
from knts.settings import TypesenseServer
from tests.integration.indexing import deleted, upserted
from tests.searching import NothingRemembered

SCOPE = Scope("t")
TOPICS = ("ship", "house", "river", "bread")


@dataclass
class TopicModel:
    """Stands for the model: a text's embedding is how often each topic is named."""

    away: bool = False
    calls: list[tuple[str, int]] = field(default_factory=list)
    meanwhile: Event | None = None
    deliver: object = None

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        self.calls.append((model, len(texts)))
        if self.away:
            raise EmbedderAway("gone")
        if self.meanwhile and callable(self.deliver):
            event, self.meanwhile = self.meanwhile, None
            await self.deliver(event)
        return [self.of(text) for text in texts]

    @staticmethod
    def of(text: str) -> list[float]:
        return normalised([0.1 + text.count(topic) for topic in TOPICS])


@dataclass
class Desk:
    """The function's handlers with a worker whose steps the tests take."""

    records: Records
    index: Index
    vectors: Vectors
    waiting: Unembedded
    model: TopicModel
    worker: Worker

    async def deliver(self, event: Event) -> Event | None:
        if event.type.endswith("deleted.v1"):
            return await handler.delete(event, records=self.records, index=self.index)
        meanings = Meanings(self.waiting, self.worker)
        return await handler.upsert(event, records=self.records, index=self.index, meanings=meanings)

    async def near(self, topic: str, scope: Scope = SCOPE) -> list[str]:
        """The documents nearest to a topic, by the model that is searched by."""
        model = await self.vectors.serving()
        if model is None:
            return []
        found = (await self.vectors.nearest(scope, model, self.model.of(topic), 10)).passages
        held = await self.chunks(model)
        return [held[each.chunk_id] for each in found]

    async def search(self, question: str, scope: Scope = SCOPE) -> list[str]:
        """The documents that a search finds, as it would by words and by meaning."""
        index = NothingRemembered(self.index.chunks.typesense)
        index.meanings = search.Meanings(self.vectors, self.model, 5)
        page = await find(index, self.records, scope, parse(question), Wanted())
        return [hit.chunk.document_id for hit in page.hits]

    async def chunks(self, model: Model) -> dict[str, str]:
        """The ids of all embedded passages, with the number of their version."""
        name = (await self.vectors.collections()).get(model)
        lines = await self.vectors._export(name, "version:>0", "id,version") if name else []
        return {each["id"]: str(each["version"]) for each in lines}


@pytest_asyncio.fixture
async def desk(redis: Redis, typesense_server: TypesenseServer) -> AsyncIterator[Desk]:
    async with Typesense(typesense_server) as typesense:
        chunks = Chunks(typesense)
        records, vectors, model = Records(redis), Vectors(typesense), TopicModel()
        waiting = Unembedded(redis, typesense_server.collection)
        worker = Worker("topics", waiting=waiting, vectors=vectors, records=records, embedder=model)
        index = Index(chunks, Batches(chunks.add), vectors)
        desk = Desk(records, index, vectors, waiting, model, worker)
        model.deliver = desk.deliver
        yield desk
        for name in (await vectors.collections()).values():
            await vectors.drop_collection(name)


async def test_a_document_is_current_before_it_is_embedded_and_found_by_meaning_after(desk: Desk) -> None:
    assert await desk.deliver(upserted("d", 1, "a ship")) is not None
    assert await desk.records.current("t", ["d"]) == {"d": 1}
    assert await desk.near("ship") == []
    assert await desk.worker.step() == 1
    assert await desk.near("ship") == ["1"]
    assert await desk.waiting.count() == 0


async def test_a_worker_that_looks_while_a_document_is_being_written_does_not_make_it_forgotten(desk: Desk) -> None:
    raise_to = desk.records.raise_to

    async def looked_first(*args: Any, **more: Any) -> Any:
        await desk.worker.step()
        return await raise_to(*args, **more)

    desk.records.raise_to = looked_first  # type: ignore[method-assign]
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    assert await desk.near("ship") == ["1"]


async def test_a_delivery_that_comes_again_puts_its_document_on_the_list_again(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    [taken] = await desk.waiting.take(1)
    await desk.waiting.done(taken)  # as if the first delivery had died before it noted the document
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    assert await desk.near("ship") == ["1"]


async def test_the_nearest_comes_first_and_nobody_elses_is_found(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.deliver(upserted("e", 2, "a house"))
    await desk.deliver(upserted("f", 3, "a ship of ships", acl=["captains"]))
    await desk.worker.step()
    assert await desk.near("house") == ["2", "1"]
    assert await desk.near("ship", Scope("t", ("captains",))) == ["1", "3", "2"]
    assert await desk.near("ship", Scope("another")) == []


async def test_what_is_replaced_or_removed_loses_its_embeddings(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    await desk.deliver(upserted("d", 2, "a house"))
    await desk.worker.step()
    model = await desk.vectors.serving()
    assert model
    assert set((await desk.chunks(model)).values()) == {"2"}
    await desk.deliver(deleted("d", 3))
    assert await desk.chunks(model) == {}


async def test_a_document_that_is_replaced_while_it_is_embedded_leaves_nothing_behind(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    await desk.deliver(upserted("d", 2, "a house"))
    desk.model.meanwhile = deleted("d", 3)
    await desk.worker.step()
    model = await desk.vectors.serving()
    assert model
    assert await desk.chunks(model) == {}


async def test_a_document_that_is_written_again_while_it_is_embedded_is_embedded_again(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    desk.model.meanwhile = upserted("d", 2, "a house")
    await desk.worker.step()
    assert await desk.waiting.count() == 1
    await desk.worker.step()
    assert await desk.near("house") == ["2"]


async def test_while_the_model_is_away_documents_wait_and_none_is_forgotten(desk: Desk) -> None:
    desk.model.away = True
    assert await desk.deliver(upserted("d", 1, "a ship")) is not None
    with pytest.raises(EmbedderAway):
        await desk.worker.step()
    assert await desk.waiting.count() == 1
    desk.model.away = False
    assert await desk.worker.step() == 1
    assert await desk.near("ship") == ["1"]


async def test_what_has_its_embeddings_is_not_embedded_again(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    before = len(desk.model.calls)
    await desk.waiting.add("t", ["d"])
    await desk.worker.step()
    assert len(desk.model.calls) == before


async def test_while_another_model_is_searched_by_both_embed_what_comes(desk: Desk) -> None:
    await desk.deliver(upserted("d", 1, "a ship"))
    await desk.worker.step()
    old = await desk.vectors.serving()
    desk.worker.model = "newer"
    await desk.deliver(upserted("e", 2, "a house"))
    await desk.worker.step()
    assert await desk.vectors.serving() == old
    assert await desk.near("house") == ["2", "1"]
    assert set((await desk.chunks(Model("newer", len(TOPICS)))).values()) == {"2"}


async def test_a_reindex_changes_searches_over_when_all_is_embedded_by_the_other_model(desk: Desk) -> None:
    for at in range(6):
        await desk.deliver(upserted(f"d{at}", 1, "a ship"))
    while await desk.worker.step():
        pass
    old = await desk.vectors.serving()
    desk.worker.model = "newer"
    served: list[Model | None] = []

    async def work_while_more_comes() -> None:
        await desk.deliver(upserted("late", 1, "a ship"))
        while True:
            if await desk.worker.step():
                served.append(await desk.vectors.serving())
            await asyncio.sleep(0)

    working = asyncio.create_task(work_while_more_comes())
    made = await reindex(desk.vectors, desk.waiting, "newer", lambda _: None)
    working.cancel()
    assert set(served) == {old}
    assert made == await desk.vectors.serving() == Model("newer", len(TOPICS))
    assert len(await desk.near("ship")) == 7
    assert list(await desk.vectors.collections()) == [made]


ASKED = "where is the harbour of that ship at night?"
HARBOUR = {  # the best first, by words and by meaning
    "best": "the ship lies in the harbour at night, a ship in the harbour",
    "good": "a ship in the harbour",
    "some": "the ship, and a house",
    "less": "bread and bread from the harbour",
    "none": "a river runs by the house",
}


async def test_while_half_are_embedded_those_whose_words_fit_best_stay_first(desk: Desk) -> None:
    for name in reversed(HARBOUR):
        await desk.deliver(upserted(name, 1, HARBOUR[name]))
        if name not in ("best", "good"):
            await desk.worker.step()
    assert await desk.waiting.count() == 2
    assert (await desk.search(ASKED))[:2] == ["best", "good"]
    await desk.worker.step()
    assert await desk.waiting.count() == 0
    assert (await desk.search(ASKED))[:2] == ["best", "good"]


async def test_a_document_that_was_updated_just_now_keeps_its_place_until_it_is_embedded_again(desk: Desk) -> None:
    for name, text in HARBOUR.items():
        await desk.deliver(upserted(name, 1, text))
    while await desk.worker.step():
        pass
    before = await desk.search(ASKED)
    await desk.deliver(upserted("good", 2, HARBOUR["good"] + "."))
    assert await desk.search(ASKED) == before
    await desk.worker.step()
    assert await desk.search(ASKED) == before


async def test_others_documents_do_not_count_as_waiting_for_their_embeddings(desk: Desk) -> None:
    for name, text in HARBOUR.items():
        await desk.deliver(upserted(name, 1, text))
    while await desk.worker.step():
        pass
    before = await desk.search(ASKED)
    await desk.deliver(upserted("secret", 1, "the harbour of the ship at night", acl=["captains"]))
    model = await desk.vectors.serving()
    assert model
    found = await desk.vectors.nearest(SCOPE, model, desk.model.of("ship"), 3)
    assert (len(found.passages), found.among) == (3, len(HARBOUR))
    assert await desk.search(ASKED) == before


async def test_a_reindex_of_nothing_changes_nothing(desk: Desk) -> None:
    assert await reindex(desk.vectors, desk.waiting, "newer", lambda _: None) is None


async def test_two_workers_never_take_the_same_document(desk: Desk) -> None:
    await desk.waiting.add("t", [f"d{at}" for at in range(40)])
    taken = await asyncio.gather(*(desk.waiting.take(4) for _ in range(12)))
    names = [each.document_id for part in taken for each in part]
    assert sorted(names) == sorted({f"d{at}" for at in range(40)})
