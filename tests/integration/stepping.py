"""A delivery to index-document that can be stopped between any two of its steps, for the tests of what comes then."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

from functions.index_document import handler
from knts import events, schemas
from knts.clients.records import Records
from knts.events import Event
from tests.integration.indexing import Parts

Step = Callable[..., Awaitable[Any]]
RECORDS = ("claim", "replace_token", "raise_to", "refuse")
INDEX = ("add", "drop_older", "drop_up_to", "drop_own")
BORDERS = 12  # no delivery has more moments before and after its steps


class Crash(BaseException):
    """The process dies here; nothing that it still had to do is done."""


@dataclass(eq=False)
class Delivery:
    """One delivery of an event, which goes on to `border`, the number of the moment before or after a step.

    There it dies, or waits until `go_on` is set. With `half`, of an import that it dies before, half is made.
    `told` hears what came of every step; `turns` lets it hear of a record's changes in the order that they are made.
    """

    event: Event
    parts: Parts
    told: Callable[[str, Event, Any], None] = lambda step, event, outcome: None
    fate: Literal["finish", "crash", "pause"] = "finish"
    border: int = 0
    half: bool = False
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    passed: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Event | None:
        """The reply. Raises Crash, and what the handler raises."""
        records: Any = Records(self.parts.records.redis)
        for name in RECORDS:
            setattr(records, name, self._stepping(name, getattr(records, name)))
        index: Any = SimpleNamespace(**{name: self._stepping(name, getattr(self.parts.index, name)) for name in INDEX})
        handle = handler.upsert if self.event.type == events.DOCUMENT_UPSERTED else handler.delete
        reply = await handle(self.event, records=records, index=index)
        if reply is not None:
            schemas.check_data(reply)
        return reply

    def _stepping(self, name: str, real: Step) -> Step:
        async def stepping(*args: Any, **more: Any) -> Any:
            await self._border()
            if name == "add" and self.half and self.fate == "crash" and self.passed == self.border:
                await real(args[0][: len(args[0]) // 2])
                raise Crash
            async with self.turns if name in RECORDS else contextlib.nullcontext():
                outcome = await real(*args, **more)
                self.told(name, self.event, outcome)
            await self._border()
            return outcome

        return stepping

    async def _border(self) -> None:
        at, self.passed = self.passed, self.passed + 1
        if self.fate == "crash" and at >= self.border:  # what a `finally` would still do is not done either
            raise Crash
        if self.fate == "pause" and at == self.border:
            self.stopped.set()
            await self.go_on.wait()
