"""The story of the search function: somebody searches, or asks a question that needs passages.

Who searches waits for nothing else: when the index is not available he is told so at once. A question goes back to the
Broker, whose retries may outlast the outage; when they are used up, the dead-letter function tells.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from functions.search import passages
from functions.search.memory import Memory
from functions.search.patience import Patient
from functions.search.query import parse, question
from functions.search.result import body
from functions.search.retrieval import Versions, Wanted, find
from functions.search.rewriting import Rewrite, by_rule
from knts import answers, channel, errors, events
from knts.errors import IndexUnavailable
from knts.events import Event
from knts.index import meta_value
from knts.lookup import Filters, Scope

log = logging.getLogger(__name__)

SOURCE = "/knts/search"


class Frames(Protocol):
    """The correlation channel, as `knts.clients.channel.Channel` writes it."""

    async def append(
        self, correlation_id: str, frame_type: str, data: dict[str, Any], /, *, once: bool = True, **fields: str | float
    ) -> str: ...

    async def ask(self, correlation_id: str) -> dict[str, str] | None: ...

    async def frames(self, stream_key: str, after: str = "0", count: int = 1000) -> list[channel.Frame]: ...


class Records(Versions, Protocol):
    """The documents' records, as `knts.clients.records.Records` keeps them."""

    async def token(self, tenant: str) -> str: ...


async def search(event: Event, *, memory: Memory, records: Records, frames: Frames, seconds: float) -> None:
    """Write the result down the channel of the one who waits, or why there is none. Nothing follows for the Broker.

    `seconds` are what the index may take for it.
    """
    began = time.perf_counter()
    data = event.payload
    wanted = Wanted(data.get("offset", 0), data.get("limit", 10), tuple(data.get("facets", ())))
    index = Patient(memory.at(await records.token(event.tenant)), seconds)
    try:
        page = await find(index, records, scope_of(event), parse(data["query"]), wanted)
    except IndexUnavailable as error:
        log.warning("a search is told that it failed: %s", error.detail)
        await frames.append(event.correlation_id, channel.FAILED, unavailable(error))
        return
    await frames.append(event.correlation_id, channel.RESULT, body(data["query"], page, wanted, _ms_since(began)))


async def find_passages(
    event: Event, *, memory: Memory, records: Records, frames: Frames, seconds: float, rewrite: Rewrite = by_rule
) -> Event | None:
    """Find what an answer can be written from, show it to the one who asked, and hand it on.

    The index token is read first: an answer stored under it can't be older than what was searched. None when the ask
    has ended or expired. A delivery that comes again hands on what the one who asked was shown.

    A question that leans on those before it is first made to stand by itself: what was asked before goes no further.
    """
    data = event.payload
    asked = await rewrite(data["question"], data.get("conversation", ()))
    began = time.perf_counter()
    token = await records.token(event.tenant)
    query, wanted = question(asked), Wanted(limit=passages.CANDIDATES)
    page = await find(Patient(memory.at(token), seconds), records, scope_of(event), query, wanted, loosely=True)
    chosen = passages.choose(page.hits, data.get("max_passages", passages.DEFAULT))
    found = {"passages": [passages.passage(each) for each in chosen]}
    took = round(_ms_since(began), 1)
    noted: dict[str, Any] = {"standalone": asked} if asked != data["question"] else {}
    outcome = await frames.append(
        event.correlation_id,
        channel.PASSAGES,
        found,
        search_ms=took,
        index_token=token,
        **noted,
    )
    if outcome == "again":
        return await _handed_on_before(event, frames)
    return _reply(event, asked, found["passages"], token, took) if outcome == "written" else None


def unavailable(error: IndexUnavailable) -> dict[str, Any]:
    """The final object of a search that could not be made."""
    problem = errors.problem(error)
    return answers.failure(f"search is not available now: {error.detail}", problem, round(time.time() * 1000))


async def _handed_on_before(event: Event, frames: Frames) -> Event | None:
    ask = await frames.ask(event.correlation_id)
    written = await frames.frames(channel.frames_key(event.correlation_id))
    shown = next((frame for frame in written if frame.type == channel.PASSAGES), None)
    if ask is None or shown is None:
        return None
    asked = ask.get("standalone", event.payload["question"])
    return _reply(event, asked, shown.data["passages"], ask["index_token"], float(ask["search_ms"]))


def _reply(event: Event, asked: str, found: list[dict[str, Any]], token: str, took: float) -> Event:
    request = {name: value for name, value in event.payload.items() if name != "conversation"} | {"question": asked}
    data = {"request": request, "passages": found, "index_token": token, "search_ms": took}
    return events.reply_to(event, events.PASSAGES_FOUND, SOURCE, data, subject=event.correlation_id)


def scope_of(event: Event) -> Scope:
    """What the asker may read, and the filters he set."""
    data = event.payload
    return Scope(event.tenant, tuple(data["groups"]), filters_of(data.get("filters", {})))


def filters_of(given: Mapping[str, Any]) -> Filters:
    """Filters as the request holds them: a value, or a list of which one must be there."""
    return {
        key: tuple(meta_value(value) for value in (values if isinstance(values, list) else [values]))
        for key, values in given.items()
    }


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
