"""Publishing to a Broker: what it answers, and what becomes of an event meanwhile."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from knts import events
from knts.clients.broker import Publisher
from knts.clients.redis import Redis
from knts.errors import KntsError, Permanent, Temporary, TooLarge
from knts.events import Event
from tests.scripted_road import ScriptedRoad, nothing

KEYS = ["first", "second"]


@pytest_asyncio.fixture
async def road(redis: Redis) -> AsyncIterator[ScriptedRoad]:
    async with ScriptedRoad(redis, nothing).running() as running:
        yield running


def deleted(**attributes: str) -> Event:
    data = {"id": "ä/b%", "version": 1}
    return events.new_event(events.DOCUMENT_DELETED, "/test", data, tenant="t", subject="ä/b%", **attributes)


async def test_the_broker_gets_the_event_signed(road: ScriptedRoad) -> None:
    event = deleted()
    async with Publisher(road.url, KEYS) as publisher:
        await publisher.publish(event)
    [got] = road.events
    assert (got.id, got.subject, got.payload, got.tenant) == (event.id, "ä/b%", event.payload, "t")
    assert "signature" in got.attributes
    events.check_signature(got, ["first"])
    with pytest.raises(Permanent):
        events.check_signature(got, ["second"])


@pytest.mark.parametrize(
    ("status", "error"), [(400, Permanent), (401, Permanent), (422, Permanent), (413, TooLarge), (307, Permanent)]
)
async def test_what_is_refused_is_not_sent_again(road: ScriptedRoad, status: int, error: type[KntsError]) -> None:
    road.status = status
    async with Publisher(road.url, KEYS) as publisher:
        with pytest.raises(error):
            await publisher.publish(deleted())
    assert road.attempts == 1


@pytest.mark.parametrize("status", [404, 408, 429, 500, 503])
async def test_a_broker_in_trouble_is_asked_again(road: ScriptedRoad, status: int) -> None:
    road.statuses = [status, status]
    async with Publisher(road.url, KEYS) as publisher:
        await publisher.publish(deleted())
    assert len(road.events) == 1
    assert road.attempts == 3


async def test_a_broker_that_stays_in_trouble_is_given_up_at_the_deadline(road: ScriptedRoad) -> None:
    road.status = 503
    async with Publisher(road.url, KEYS, deadline=0.3) as publisher:
        with pytest.raises(Temporary, match="503"):
            await publisher.publish(deleted())
    assert road.attempts > 1


async def test_a_broker_that_is_not_there_is_given_up_at_the_deadline(free_port: Callable[[], int]) -> None:
    async with Publisher(f"http://127.0.0.1:{free_port()}/", KEYS, deadline=0.2) as publisher:
        with pytest.raises(Temporary):
            await publisher.publish(deleted())


async def test_an_event_too_large_for_any_broker_is_not_sent(road: ScriptedRoad) -> None:
    async with Publisher(road.url, KEYS) as publisher:
        with pytest.raises(TooLarge):
            await publisher.publish(events.new_event(events.DOCUMENT_UPSERTED, "/t", {"text": "x" * 1_000_000}))
    assert road.attempts == 0


async def test_each_event_is_sent_with_the_token_that_is_in_the_file_then(road: ScriptedRoad, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with Publisher(road.url, KEYS, token=file) as publisher:
        for token in ("one", "two"):
            file.write_text(f"{token}\n")
            await publisher.publish(deleted())
    async with Publisher(road.url, KEYS) as publisher:
        await publisher.publish(deleted())
    assert road.authorizations == ["Bearer one", "Bearer two", None]


async def test_without_its_token_nothing_is_sent(road: ScriptedRoad, tmp_path: Path) -> None:
    async with Publisher(road.url, KEYS, deadline=0.3, token=tmp_path / "token") as publisher:
        with pytest.raises(Temporary, match="token for the Broker can't be read"):
            await publisher.publish(deleted())
    assert road.attempts == 0
