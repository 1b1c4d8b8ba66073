"""Which models there are to ask: those of Ollama's that write text, as it listed them within the last half minute."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from functions.ingress.ports import Models
from knts.errors import BadRequest, NotFound, Permanent, Temporary
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
    _known: Mapping[str, bool] | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def names(self) -> list[str]:
        """The names of those that can answer, the default's first."""
        able = [name for name, writes in (await self._listed() or {}).items() if writes]
        return [self.default, *(name for name in able if model_name(name) != model_name(self.default))]

    async def find(self, name: str) -> None:
        """Raises NoSuchModel for one that is known not to be among them."""
        if await self._can(name) is not True:
            raise _unknown(name)

    async def check(self, name: str) -> None:
        """Raises NoSuchModel for one that Ollama is known not to have, BadRequest for one that writes no text."""
        can = await self._can(name)
        if can is None:
            raise _unknown(name)
        if not can:
            rule = "can't answer: it writes no text"
            raise BadRequest(f"the model {name[:100]!r} {rule}", errors=[{"field": "model", "rule": rule}])

    async def _can(self, name: str) -> bool | None:
        """Whether a model can answer; None where there is none. Nothing is held against it that is not known."""
        if model_name(name) == model_name(self.default) or (listed := await self._listed()) is None:
            return True
        return {model_name(each).lower(): can for each, can in listed.items()}.get(model_name(name).lower())

    async def _listed(self) -> Mapping[str, bool] | None:
        async with self._asking:
            if time.monotonic() >= self._until:
                self._known, self._until = await self._asked(), time.monotonic() + BELIEVED
        return self._known

    async def _asked(self) -> Mapping[str, bool] | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.models.listed()
        except (Temporary, Permanent, TimeoutError) as error:
            log.warning("Ollama's models are not known: %s", error or f"nothing came within {PATIENCE:g} s")
            return None


def _unknown(name: str) -> NoSuchModel:
    return NoSuchModel(f"the model {name[:100]!r} is unknown", errors=[{"field": "model", "rule": "is unknown"}])
