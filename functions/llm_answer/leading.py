"""Leading a flight: keep its lease, wait for one of the model's slots, write the answer, check it, end it.

Two tasks run side by side: one writes, one renews. Whichever ends first ends the other: a lease that was lost or a
flight that nobody waits for stops the writing, and with it the call to Ollama, at once.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from functions.llm_answer import abstention, judging, outcome, structured
from functions.llm_answer.batching import batched
from functions.llm_answer.citations import tie
from functions.llm_answer.counting import tokens
from functions.llm_answer.currency import currency
from functions.llm_answer.guard import Guard
from functions.llm_answer.outcome import Work
from functions.llm_answer.ports import Models, Tools
from functions.llm_answer.preparing import fallback
from functions.llm_answer.strictness import Strict
from knts.channel import CITATION, DELTA, QUEUED, RESET
from knts.clients.flights import RENEW_SECONDS
from knts.clients.ollama import Done, NoFirstToken, OllamaAway, PromptTooLong
from knts.errors import Permanent, Temporary
from knts.flights import Joined, LeaseLost
from knts.line import Place

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # how often a leader whose turn may come next asks for a slot
FAR_SECONDS = 1.0  # how often one far behind does
SHORTEST_REST = 16  # tokens that an answer which is taken up may have at least
WINDOW_SECONDS = 0.01  # tokens that come within it share a frame
RETRY_SECONDS = (0.2, 0.6, 1.5, 3.0)  # between calls to Ollama of which nothing came
_LAST_WORD = re.compile(r"\s+\S*\Z")
REMOVED = "a document that the answer stands on was removed"


Ending = tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]  # the last frames but one, and the final object


@dataclass
class Progress:
    """How far an answer has come. `text` is what its readers have, `place` where it waits or writes.

    `said` is all that the model said; `strict`, where it is to be strict, decides what readers get of it.
    """

    place: Place
    now_ms: Callable[[], int]  # by Redis' clock
    text: str = ""
    said: str = ""
    strict: Strict | None = None
    written: bool = False  # whether any of it is this leader's
    queued_ms: float = 0.0
    first_token_at: int | None = None
    done: Done | None = None
    wrote: bool = False  # whether the model wrote anything, be it nothing that may be shown

    @property
    def times(self) -> dict[str, Any]:
        """What a final object says of them, as far as it is known."""
        first = {} if self.first_token_at is None else {"first_token_at": self.first_token_at}
        return {"queued_ms": round(self.queued_ms, 1), **first}


async def lead(work: Work, joined: Joined, tools: Tools) -> dict[str, Any]:
    """Lead the flight to its end; its final object, whose status is completed, abstained, failed or cancelled.

    Raises Temporary (Redis or Ollama is away, the lease is lost): then nothing has ended, the lease is free again, and
    the Broker's retry goes on.
    """
    progress = Progress(work.place, tools.asks.now_ms)
    with _listed(tools.leading):
        writing = asyncio.create_task(_write(work, joined, progress, tools))
        renewing = asyncio.create_task(_renew(work, joined, progress, tools))
        try:
            await asyncio.wait({writing, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not renewing.done():
                await _stop(renewing)  # or it would take the end of the flight for a lost lease
            if not renewing.cancelled():
                end = await renewing
            else:
                frames, end = await writing
                await tools.flights.end(joined.flight, joined.token, frames, end)
        finally:
            await _stop(writing, renewing)
            await _redis_permitting(tools.flights.release(joined.flight, joined.token))
        return end


async def _write(work: Work, joined: Joined, progress: Progress, tools: Tools) -> Ending:
    """Write the answer into the flight; how it ends. What is permanent is the end of a failed flight.

    Where the default model can't begin, the fallback writes.
    """
    if joined.streamed:
        progress.text, progress.first_token_at = await tools.flights.text(joined.flight)
    try:
        try:
            return await _answer(work, joined, progress, tools)
        except (OllamaAway, NoFirstToken) as error:
            if progress.written or work.fallback or (instead := await fallback(work.asked, tools)) is None:
                raise
            log.warning("the fallback answers: %s", error.detail)
            work = instead
            return await _answer(work, joined, progress, tools)
    except Permanent as error:
        log.warning("the answer failed: %s", error.detail)
        return [], outcome.failed(work, error, progress.now_ms(), answer=progress.text, **progress.times)


async def _answer(work: Work, joined: Joined, progress: Progress, tools: Tools) -> Ending:
    async with _slot(work, joined, progress, tools):
        if (await currency(tools.records, work.asked.event.tenant, work.shown)).removed:
            return _withheld(work, progress)
        if not progress.text and (reason := await judging.doubt(work, tools)):
            return [], _final(work, progress, "abstained", reason=reason)
        given = await _given(work, joined, progress, tools)
        try:
            await _stream(work, given, joined, progress, tools)
        except PromptTooLong as error:
            if not work.surely:
                raise
            log.info("the model is asked again with less of the passages: %s", error.detail)
            tools.learned.learn(work.model_digest, outcome.read_tokens(work), work.options["num_ctx"])
            await _stream(replace(work, messages=work.surely, surely=()), given, joined, progress, tools)
    if not progress.wrote:
        raise Permanent("the model wrote nothing")
    told = abstention.after if work.asked.format is None else structured.abstains
    if work.asked.format is not None:
        structured.check(progress.said, work.asked.format)
    if reason := told(progress.said):
        return [], _final(work, progress, "abstained", reason=reason)
    if not progress.text:
        reason = abstention.UNSUPPORTED if progress.said else abstention.NO_WORDS
        return [], _final(work, progress, "abstained", reason=reason)
    find = tie if work.asked.format is None else structured.tie
    tied = await asyncio.to_thread(find, progress.text, work.shown, work.asked.question)  # keeps renewing
    citations = tied.citations
    now = await currency(tools.records, work.asked.event.tenant, work.shown)
    if now.removed:
        return _withheld(work, progress)
    frames = [(CITATION, citation) for citation in citations]
    doubt = {} if citations else {"reason": abstention.UNSUPPORTED}
    parts = {"citations": citations, "sentences": tied.sentences, "stale": now.stale(citations)}
    return frames, _final(work, progress, "completed", **parts, **doubt)


def _withheld(work: Work, progress: Progress) -> Ending:
    """The end of an answer that stands on what was removed: neither its words nor its passages are given."""
    end = outcome.failed(work, Permanent(REMOVED), progress.now_ms(), passages=[], **progress.times)
    return [(RESET, {})] if progress.text else [], end


def _final(work: Work, progress: Progress, status: str, **more: Any) -> dict[str, Any]:
    usage = progress.done.usage if progress.done else outcome.NO_TOKENS
    left_out = {"withheld": progress.strict.withheld} if progress.strict else {}
    cut = {"finish_reason": "length"} if progress.done and progress.done.reason == "length" else {}
    told = {**progress.times, **left_out, **cut, **more}
    return outcome.final(status, work, progress.now_ms(), answer=progress.text, usage=usage, **told)


@contextlib.asynccontextmanager
async def _slot(work: Work, joined: Joined, progress: Progress, tools: Tools) -> AsyncIterator[None]:
    """One of the model's slots. Who waits for it is told his place whenever it changes."""
    began, told = time.monotonic(), 0
    with tools.line.waiting(work.model):
        place = await tools.line.slot(work.place, joined.token, tools.limits.slots)
        while place.place:
            progress.place = place
            if place.place != told and not progress.text:
                await tools.flights.append(joined.flight, joined.token, [(QUEUED, place.told)])
                told = place.place
            near = place.place <= place.slots
            await asyncio.sleep(POLL_SECONDS if near else min(POLL_SECONDS * place.place, FAR_SECONDS))
            place = await tools.line.slot(place, joined.token, tools.limits.slots)
    progress.place, taken = place, time.monotonic()
    progress.queued_ms += (taken - began) * 1000
    held = 0.0
    try:
        with tools.line.writing(work.model):
            yield
        held = (time.monotonic() - taken) * 1000
    finally:
        await _redis_permitting(tools.line.done(place, joined.token, held))


async def _given(work: Work, joined: Joined, progress: Progress, tools: Tools) -> str:
    """The words of a leader who is gone that the model goes on with, if it wrote them and can: all but the last one.

    That may be half a word, cut where a token ended, and a model would make another of it. What it says instead is held
    against what readers have, as is the whole answer of a model that has to begin again; so has one that is held to a
    schema, which begins with the schema's beginning.
    """
    if work.asked.format is not None or not progress.text:
        return ""
    if joined.streamed != work.model_digest or not await _continues(work, tools):
        return ""
    last = _LAST_WORD.search(progress.text)
    return progress.text[: last.start()] if last else ""


async def _continues(work: Work, tools: Tools) -> bool:
    try:
        return await tools.continues(_models(work, tools), work.model, work.model_digest, work.options["num_ctx"])
    except Permanent as error:
        log.warning("the model could not be probed: %s", error.detail)
        return False


def _models(work: Work, tools: Tools) -> Models:
    return tools.fallback if work.fallback and tools.fallback else tools.models


async def _stream(work: Work, given: str, joined: Joined, progress: Progress, tools: Tools) -> None:
    """The model's words as deltas, as far as the guard lets them through; it may end the call before the model does."""
    structure = work.asked.format is not None
    guard = structured.Whole() if structure else Guard(work.marks, work.options.get("num_predict", 0), given)
    progress.strict = Strict(work.shown, work.asked.question) if work.asked.strict else None
    pieces = 0
    async with _called(work, given, tools) as batches:
        async for batch in batches:
            texts = [piece for piece in batch if isinstance(piece, str)]
            pieces += len(texts)
            guard.feed("".join(texts))
            if not progress.text.startswith(good := await _released(guard.shown, progress, whole=False)):
                await _show(good, work, joined, progress, tools)
            progress.done = next((piece for piece in batch if isinstance(piece, Done)), progress.done)
            if guard.stopped:
                break
    progress.wrote = bool(guard.written.strip())
    if progress.done and not given:
        tools.learned.learn(work.model_digest, outcome.read_tokens(work), progress.done.prompt_tokens)
    if progress.done is None:
        progress.done = Done("stop", outcome.read_tokens(work), pieces)
    if given:
        progress.done = replace(progress.done, completion_tokens=progress.done.completion_tokens + tokens(given))
    progress.said = guard.end(cut=progress.done.reason == "length")
    await _show(await _released(progress.said, progress, whole=True), work, joined, progress, tools)


async def _released(text: str, progress: Progress, *, whole: bool) -> str:
    """What readers may get of what the guard lets through; a strict answer is judged beside, which keeps renewing."""
    if progress.strict is None:
        return text
    return await asyncio.to_thread(progress.strict.released, text, whole=whole)


async def _show(text: str, work: Work, joined: Joined, progress: Progress, tools: Tools) -> None:
    """Bring readers to this text: by a delta where it begins with what they have, else by `reset` and all of it."""
    frames: list[tuple[str, dict[str, Any]]] = []
    if not text.startswith(progress.text):
        frames.append((RESET, {}))
        progress.text = ""
    if more := text[len(progress.text) :]:
        frames.append((DELTA, {"text": more}))
        progress.first_token_at = progress.first_token_at or progress.now_ms()
    if frames:
        await tools.flights.append(joined.flight, joined.token, frames, writer=work.model_digest)
        progress.text, progress.written = text, True


@contextlib.asynccontextmanager
async def _called(work: Work, given: str, tools: Tools) -> AsyncIterator[AsyncIterator[list[str | Done]]]:
    """A call to Ollama of which something has come, for what follows on `given`. Calls of which nothing came are
    repeated, a few times.

    Raises Temporary as the last of them did.
    """
    messages, options = work.messages, work.options
    if given:
        messages = [*messages, {"role": "assistant", "content": given}]
        options = {**options, "num_predict": max(options["num_predict"] - tokens(given), SHORTEST_REST)}
    waits = iter(RETRY_SECONDS[: tools.limits.tries - 1])
    while True:
        async with contextlib.aclosing(
            batched(_models(work, tools).chat(work.model, messages, options, work.asked.format), WINDOW_SECONDS)
        ) as batches:
            try:
                first = await anext(batches)
            except OllamaAway as error:
                if (wait := next(waits, None)) is None:
                    raise
                log.info("Ollama is asked again in %s s: %s", wait, error.detail)
            else:
                yield _chained(first, batches)
                return
        await asyncio.sleep(wait)


async def _chained(
    first: list[str | Done], rest: AsyncGenerator[list[str | Done], None]
) -> AsyncIterator[list[str | Done]]:
    yield first
    async for batch in rest:
        yield batch


async def _renew(work: Work, joined: Joined, progress: Progress, tools: Tools) -> dict[str, Any]:
    """Keep the lease until nobody waits any more; then the cancelled flight's final object. Raises LeaseLost."""
    flights = tools.flights
    believed = time.monotonic() + flights.lease_ms / 1000
    while True:
        end = outcome.final("cancelled", work, progress.now_ms(), **progress.times)
        try:
            if not await flights.renew(joined.flight, joined.token, progress.place, end):
                return end
            believed = time.monotonic() + flights.lease_ms / 1000
        except LeaseLost:
            raise
        except Temporary as error:  # Redis stumbles: the lease is ours until its time is over
            if time.monotonic() > believed:
                raise LeaseLost(f"the flight's lease could not be renewed: {error.detail}", retry_after=1) from error
        await asyncio.sleep(RENEW_SECONDS)


async def _redis_permitting(call: Awaitable[None]) -> None:
    """Give something up that runs out by itself, should Redis be away."""
    try:
        await call
    except Temporary as error:
        log.warning("it will run out by itself: %s", error.detail)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for them; what they raise was told by another of them, or is the cancelling itself.

    Again and again: a cancellation that meets a reply just arriving may be swallowed below us (`asyncio.wait_for`).
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=RENEW_SECONDS)
    for task in tasks:
        _ = task.cancelled() or task.exception()


@contextlib.contextmanager
def _listed(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    mine = {task} if (task := asyncio.current_task()) else set()
    tasks |= mine
    try:
        yield
    finally:
        tasks -= mine
