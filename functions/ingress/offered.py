"""Which models there are to ask: Ollama's, as it listed them within the last half minute."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from functions.ingress.ports import Models
from knts.errors import NotFound, Permanent, Temporary
from knts.line import model_name

log = logging.getLogger(__name__)

BELIEVED = 30.0  # seconds
PATIENCE = 2.0  # seconds that Ollama may take; who asks for a model that it has does not depend on it


class NoSuchModel(NotFound):
    """Ollama does not have the model."""

    slug = "model-not-found"


@dataclass
class Offered:
    """The models, `default` among them. Ollama being away is no failure: then only the default is known."""

    models: Models
    default: str
    _names: list[str] | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def names(self) -> list[str]:
        """Their names, the default's first."""
        listed = [name for name in await self._listed() or [] if model_name(name) != model_name(self.default)]
        return [self.default, *listed]

    async def check(self, name: str) -> None:
        """Raises NoSuchModel for one that Ollama is known not to have."""
        if model_name(name) == model_name(self.default):
            return
        listed = await self._listed()
        if listed is not None and model_name(name).lower() not in {model_name(each).lower() for each in listed}:
            raise NoSuchModel(f"the model {name[:100]!r} is unknown", errors=[{"field": "model", "rule": "is unknown"}])

    async def _listed(self) -> list[str] | None:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._names, self._until = await self._asked(), time.monotonic() + BELIEVED
        return self._names

    async def _asked(self) -> list[str] | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.models.names()
        except (Temporary, Permanent, TimeoutError) as error:
            log.warning("Ollama's models are not known: %s", error or f"nothing came within {PATIENCE:g} s")
            return None
