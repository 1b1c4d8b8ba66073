"""A document event that died, at the dead-letter function on a real Valkey: its version does not stay pending."""

import aiohttp
import pytest

from knts import events
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.events import Event
from tests.conftest import SIGNING_KEY, ServeFunction

DIED = {"knativeerrordest": "http://index-document.default/", "knativeerrorcode": "503"}


def dead(version: int, **attributes: str) -> Event:
    data = {"id": "d", "version": version, "title": "D", "text": "Word"}
    return events.new_event(events.DOCUMENT_UPSERTED, "/producer", data, **DIED, **attributes)


async def bury(url: str, event: Event) -> None:
    headers, body = events.to_http(event)
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        assert response.status == 202


@pytest.mark.parametrize("signed", [True, False])
async def test_its_version_is_rejected_until_it_is_replayed(
    serve_function: ServeFunction, redis: Redis, redis_url: str, signed: bool
) -> None:
    url = await serve_function("dead-letter", {"REDIS_URL": redis_url})
    records = Records(redis)
    await records.claim("local", "d", 1, "content")
    event = events.signed(dead(1, tenant="local"), [SIGNING_KEY]) if signed else dead(1)
    for _ in range(2):
        await bury(url, event)
    record = await records.get("local", "d")
    assert record is not None
    assert (record.status, record.version) == ("rejected", 1)
    assert record.reason == "a function behind the Broker failed with status 503, and so did every retry"
    assert await records.claim("local", "d", 1, "content") == "claimed"
    assert await records.raise_to("local", "d", 1, "content", status="indexed") == "first"
    await bury(url, event)
    assert await records.current("local", ["d"]) == {"d": 1}


async def test_nobody_rejects_another_tenants_documents(
    serve_function: ServeFunction, redis: Redis, redis_url: str
) -> None:
    url = await serve_function("dead-letter", {"REDIS_URL": redis_url})
    await bury(url, dead(9, tenant="acme"))
    await bury(url, events.signed(dead(9, tenant="acme"), ["a key of somebody else"]))
    assert await Records(redis).get("acme", "d") is None
