"""The story of cache-writer: what is worth keeping of a finished answer, and what a changed document takes along.

Every handler here may run again at any time: storing twice stores the same, forgetting twice forgets nothing more.
"""

import logging
from typing import Any, Protocol

from knts.events import Event

log = logging.getLogger(__name__)


class Cache(Protocol):
    """What is needed of `knts.clients.answer_cache.AnswerCache`."""

    async def put(self, tenant: str, answer: dict[str, Any]) -> None: ...
    async def point(self, fast_key: str, key: str) -> None: ...
    async def forget(self, tenant: str, document_id: str) -> int: ...


async def remember(event: Event, *, cache: Cache) -> None:
    """Store a finished answer that may be cached, and let its fast key lead to it.

    An answer that came from the cache by its key is there already: only its new fast key is stored. One that came by
    another wording is stored once more, for this one, and only its fast key leads to it.
    """
    answer = event.payload
    if not answer["cacheable"] or answer.get("stale"):
        return
    if answer["cache"] != "hit":
        await cache.put(event.tenant, answer)
    if fast_key := answer.get("fast_key"):
        await cache.point(fast_key, answer["key"])


async def forget(event: Event, *, cache: Cache) -> None:
    """Drop the answers that depend on a document which has just changed or gone."""
    gone = await cache.forget(event.tenant, event.payload["id"])
    log.info("forgot answers of a changed document", extra={"document_id": event.payload["id"], "answers": gone})
