"""The story of llm-answer: a question and its passages become one answer, written once for all who ask it.

Nothing here remembers what it has seen: a delivery that comes again finds its flight, its cached answer or its end, and
gives the same reply.
"""

import asyncio
import logging
from typing import Any

from functions.llm_answer import abstention, leading, outcome
from functions.llm_answer.currency import Currency, currency
from functions.llm_answer.outcome import Asked, Work
from functions.llm_answer.ports import Tools
from functions.llm_answer.preparing import prepared
from functions.llm_answer.semantic import reworded, with_meaning
from knts import answers
from knts.channel import CITATION, DELTA
from knts.errors import KntsError, Permanent, Temporary
from knts.events import Event
from knts.flights import FINISHED, GONE, HELD, LEADER, Joined

log = logging.getLogger(__name__)

HELD_POLL_SECONDS = 0.2


async def answer(event: Event, *, tools: Tools) -> Event | None:
    """Answer a question from its passages: abstain, serve a cached answer, or join the flight that writes it."""
    ask = await tools.asks.ask(event.correlation_id)
    if ask is None:
        log.info("nobody waits any more: the ask has expired")
        return None
    asked = Asked.of(event, tools.models.default_model, ask)
    flying = ask.get("flight", "")
    if not flying and (reason := abstention.before(asked.question, asked.passages)):
        return await finish(tools, *outcome.abstained(asked, reason, tools.asks.now_ms()))
    try:
        work = await prepared(asked, tools)
    except Permanent as error:
        return await refuse(Work(asked), error, flying, tools)
    evidence = await currency(tools.records, event.tenant, work.shown)
    if not flying and (hit := await cached(work, evidence, tools)):
        return await finish(tools, work, hit, cache="hit")
    work = await with_meaning(work, tools)
    if not flying and (known := await reworded(work, evidence, tools)):
        return await finish(tools, work, known, cache="semantic")
    anew = asked.mode != "use" or not evidence.current
    joined = await tools.flights.join(work.flight_key, asked.id, event_id=event.id, anew=anew)
    patience = tools.flights.lease_ms / 1000
    while joined.role == HELD and patience > 0:  # a leader that died: its lease runs out; one that lives goes on
        patience -= HELD_POLL_SECONDS
        await asyncio.sleep(HELD_POLL_SECONDS)
        joined = await tools.flights.join(work.flight_key, asked.id, event_id=event.id, anew=anew)
    return await take_part(work, joined, tools)


async def cached(work: Work, evidence: Currency, tools: Tools) -> dict[str, Any] | None:
    """The final object of a cached answer that may be served. A cache that is away is a miss, not a failure."""
    if work.asked.mode != "use" or not evidence.current:
        return None
    try:
        found = await tools.cache.get(work.key)
    except Temporary as error:
        log.warning("the cache cannot be read: %s", error.detail)
        return None
    return answers.from_completed(found, tools.asks.now_ms()) if found else None


async def take_part(work: Work, joined: Joined, tools: Tools) -> Event | None:
    """What an ask's role in its flight asks for: the leader writes, who comes after the end tells of it again."""
    if joined.role == LEADER:
        return outcome.reply(work, await leading.lead(work, joined, tools))
    if joined.role == HELD:
        raise Temporary("another delivery of this event still leads the flight", retry_after=joined.retry_after)
    if joined.role == FINISHED and (end := await tools.flights.final(joined.flight)):
        if joined.led:
            return outcome.reply(work, end)
        # What was shared while it was written needs telling once; later on the cache may lack it, or its new fast key.
        return outcome.reply(work, end, cache="shared") if end["status"] in ("completed", "abstained") else None
    if joined.role == GONE:
        expired = outcome.failed(work, Permanent("the answer's stream has expired"), tools.asks.now_ms())
        await tools.asks.finish(work.asked.id, [], "failed", expired)
    return None


async def refuse(work: Work, error: KntsError, flying: str, tools: Tools) -> Event:
    """End an ask that can't be answered, and the flight that it led, whose followers would wait in vain."""
    log.warning("no answer: %s", error.detail)
    end = outcome.failed(work, error, tools.asks.now_ms())
    if flying:
        await tools.flights.abandon(flying, work.asked.id, end)
    else:
        await tools.asks.finish(work.asked.id, [], "failed", end)
    return outcome.reply(work, end)


async def finish(tools: Tools, work: Work, end: dict[str, Any], *, cache: str = "miss") -> Event:
    """Give an ask an answer that needs no flight. When it comes again, its frames are there already."""
    frames = [(DELTA, {"text": end["answer"]})] if end["answer"] else []
    frames += [(CITATION, citation) for citation in end["citations"]]
    await tools.asks.finish(work.asked.id, frames, end["status"], end, cache=cache)
    return outcome.reply(work, end, cache=cache)
