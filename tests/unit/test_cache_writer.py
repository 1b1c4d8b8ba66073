"""What cache-writer keeps, and what it forgets."""

from typing import Any

import pytest

from functions.cache_writer import handler
from knts import events, schemas

KEY = "a" * 64
ANSWER: dict[str, Any] = {
    "question": "Where?",
    "key": KEY,
    "fast_key": "f" * 64,
    "status": "completed",
    "answer": "In Denmark.",
    "model": "small",
    "citations": [],
    "evidence": [["hamlet", 3, 0]],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    "cache": "miss",
    "cacheable": True,
}


class FakeCache:
    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.fast: dict[str, str] = {}
        self.forgotten: list[tuple[str, str]] = []

    async def put(self, tenant: str, answer: dict[str, Any]) -> None:
        self.answers[f"{tenant}/{answer['key']}"] = answer

    async def point(self, fast_key: str, key: str) -> None:
        self.fast[fast_key] = key

    async def forget(self, tenant: str, document_id: str) -> int:
        self.forgotten.append((tenant, document_id))
        return 1


async def remembered(**changes: Any) -> FakeCache:
    cache = FakeCache()
    event = events.new_event(events.ANSWER_COMPLETED, "/knts/llm-answer", ANSWER | changes, tenant="local")
    schemas.check_data(event)
    for _ in range(2):  # a redelivery changes nothing
        assert await handler.remember(event, cache=cache) is None
    return cache


@pytest.mark.parametrize(
    ("changes", "stored", "pointed"),
    [
        ({}, True, True),
        ({"status": "abstained"}, True, True),
        ({"cacheable": False}, False, False),
        ({"stale": True}, False, False),
        ({"cache": "hit"}, False, True),
        ({"cache": "shared"}, True, True),
        ({"cache": "semantic"}, True, True),
    ],
)
async def test_what_is_kept(changes: dict[str, Any], stored: bool, pointed: bool) -> None:
    cache = await remembered(**changes)
    assert cache.answers == ({f"local/{KEY}": ANSWER | changes} if stored else {})
    assert cache.fast == ({"f" * 64: KEY} if pointed else {})


@pytest.mark.parametrize("event_type", [events.DOCUMENT_INDEXED, events.DOCUMENT_REMOVED])
async def test_a_changed_document_takes_its_answers_along(event_type: str) -> None:
    cache = FakeCache()
    event = events.new_event(event_type, "/knts/index-document", {"id": "hamlet", "version": 4}, tenant="local")
    assert await handler.forget(event, cache=cache) is None
    assert cache.forgotten == [("local", "hamlet")]
