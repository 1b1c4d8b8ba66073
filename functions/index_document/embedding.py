"""Gives passages their embeddings, behind the documents' backs: they are searchable by their words already.

A worker beside the deliveries takes documents from a durable list, so that a slow model holds back no delivery, one
that is away loses nothing, and what was loaded before there was a model, or by another one, is caught up with.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from knts.clients.unembedded import Taken
from knts.clients.vectors import Passage
from knts.embeddings import Model
from knts.errors import Permanent, Temporary

log = logging.getLogger(__name__)

TEXTS = 16  # of one call of the model
DOCUMENTS = 4  # worked on at a time
IDLE = 2.0  # seconds between two looks at the list when nobody says that there is something
PAUSE = 5.0  # seconds after a failure

T = TypeVar("T")


class Waiting(Protocol):
    """The durable list: `knts.clients.unembedded`."""

    async def take(self, most: int) -> list[Taken]: ...

    async def done(self, taken: Taken) -> None: ...

    async def give_back(self, taken: Taken) -> None: ...


class Vectors(Protocol):
    """The embeddings in the index: `knts.clients.vectors`."""

    async def serving(self) -> Model | None: ...

    async def missing(self, model: Model | None, tenant: str, document_id: str, version: int) -> list[Passage]: ...

    async def add(self, model: Model, embedded: Iterable[tuple[Passage, Sequence[float]]]) -> None: ...

    async def drop(self, wanted: str, models: Iterable[Model]) -> None: ...


class Records(Protocol):
    """Which versions are current, and the tenants' tokens: `knts.clients.records`."""

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]: ...

    def changing(self, tenant: str) -> AbstractAsyncContextManager[None]: ...


class Embedding(Protocol):
    """The model: `knts.clients.embedder`."""

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]: ...


class Worker:
    """Embeds what the list holds, by `model` and, while searches still use another one, by that too."""

    def __init__(
        self, model: str, *, waiting: Waiting, vectors: Vectors, records: Records, embedder: Embedding
    ) -> None:
        self.model = model
        self.waiting, self.vectors, self.records, self.embedder = waiting, vectors, records, embedder
        self.dimensions: dict[str, int] = {}
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. A failure is logged, what it concerned is given back, and after a pause it goes on."""
        while True:
            self.woken.clear()
            try:
                worked = await self.step()
            except Temporary as error:
                log.warning("passages wait for their embeddings: %s", error.detail)
                await asyncio.sleep(PAUSE)
                continue
            except Exception:
                log.exception("passages were not embedded")
                await asyncio.sleep(PAUSE)
                continue
            if not worked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.woken.wait(), IDLE)

    async def step(self) -> int:
        """Embed some documents; how many. Raises the first failure; what a retry may cure was given back then."""
        taken = await self.waiting.take(DOCUMENTS)
        work = (self.embed(each.tenant, each.document_id) for each in taken)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        for each, outcome in zip(taken, outcomes, strict=True):
            curable = outcome and not isinstance(outcome, Permanent)
            await (self.waiting.give_back(each) if curable else self.waiting.done(each))
        if failure := next((outcome for outcome in outcomes if outcome), None):
            raise failure
        return len(taken)

    async def embed(self, tenant: str, document_id: str) -> None:
        """Write the embeddings that the current version of a document lacks."""
        current = (await self.records.current(tenant, [document_id])).get(document_id)
        if current is None:
            return
        serving = await self.vectors.serving()
        for name in dict.fromkeys([self.model, *([serving.name] if serving else [])]):
            await self._by(name, tenant, document_id, current)

    async def _by(self, name: str, tenant: str, document_id: str, version: int) -> None:
        known = Model(name, self.dimensions[name]) if name in self.dimensions else None
        passages = await self.vectors.missing(known, tenant, document_id, version)
        for part in _parts(passages, TEXTS):
            made = await self.embedder.embed(name, [passage.text for passage in part])
            model = Model(name, len(made[0]))
            self.dimensions[name] = model.dimension
            async with self.records.changing(tenant):
                await self.vectors.add(model, zip(part, made, strict=True))
            if (await self.records.current(tenant, [document_id])).get(document_id) != version:
                fields = part[0].fields  # it was replaced meanwhile, and its embeddings dropped before these were there
                wanted = f"document:={fields['document']} && version:={version} && content:={fields['content']}"
                await self.vectors.drop(wanted, [model])
                return


def _parts(all_of_them: Sequence[T], size: int) -> list[Sequence[T]]:
    return [all_of_them[start : start + size] for start in range(0, len(all_of_them), size)]


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    """The worker, running."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
