"""Asks which passages mean what a question means. Where nothing embeds, search goes by words alone, and says so."""

import logging
from collections.abc import Sequence
from typing import Protocol

from functions.search.fusion import Nearness
from knts import telemetry
from knts.embeddings import Model, Nearest
from knts.errors import Temporary
from knts.lookup import Scope

log = logging.getLogger(__name__)

NEAREST = 90  # passages that are asked for
LONGEST = 2000  # characters of a question that are embedded


class Vectors(Protocol):
    """The passages' embeddings: `knts.clients.vectors`."""

    async def serving(self) -> Model | None: ...

    async def nearest(self, scope: Scope, model: Model, vector: Sequence[float], most: int) -> Nearest: ...

    async def embedded(self, scope: Scope, model: Model, ids: Sequence[str]) -> set[str]: ...


class Embedding(Protocol):
    """The model: `knts.clients.embedder`."""

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]: ...


class Meanings:
    """Questions are embedded by the model that the passages were embedded by, each within `seconds`."""

    def __init__(self, vectors: Vectors, embedder: Embedding, seconds: float) -> None:
        self.vectors, self.embedder, self.seconds = vectors, embedder, seconds

    async def near(self, scope: Scope, text: str) -> Nearness | None:
        """The passages within the scope that are nearest; None where there are no embeddings, or no model answers.

        Raises IndexUnavailable when Typesense is away.
        """
        if (model := await self.vectors.serving()) is None:
            return None
        try:
            vector = (await self.embedder.embed(model.name, [text[:LONGEST]], self.seconds))[0]
        except Temporary as error:
            log.warning("searching by words alone: %s", error.detail)
            telemetry.count("knts.search.by_words")
            return None
        if len(vector) != model.dimension:
            log.warning("searching by words alone: %s now has other dimensions; run `knts reindex`", model.name)
            telemetry.count("knts.search.by_words")
            return None
        found = await self.vectors.nearest(scope, model, vector, NEAREST)
        return Nearness(vector, found.passages, found.among, model.name)

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]:
        """Those of these passages within the scope that have an embedding."""
        model = await self.vectors.serving()
        return await self.vectors.embedded(scope, model, ids) if model else set()
