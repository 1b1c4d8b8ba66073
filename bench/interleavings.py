"""`python -m bench.interleavings`: updates, deletions, changes of readers and questions in any order, step by step.

Each interleaving has a tenant of its own with two documents. Deliveries to index-document, questions and deliveries to
cache-writer are taken apart at every call to Redis and to the index, and a seeded dice decides whose step comes next.
The functions' own code runs over two real Valkeys; the index is a dictionary, and the model says a sentence or two.
A question comes in two wordings, which the semantic tier takes for the same, and finds all documents or one of them.

Held against every answer, by a log of what became current when:

- no cited version had been replaced, by a version that was `indexed` or `removed`, before the question was asked;
- what was replaced while the answer was written is `stale`; what was removed is not given;
- an asker is only given what he may read; shown again later, an answer says what has changed and hides what has gone;
- one that was written for another wording cites only what was found for him, was written from nothing that he may not
  read or that has changed, and not before something came that was found for him.

`--plant` breaks one of the parts that see to this, to show that the log notices.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from bench.headlines import headline
from bench.intervals import wilson
from functions.cache_writer import handler as cache_writer
from functions.index_document import handler as index_document
from functions.ingress.standing import quotes, standing
from functions.llm_answer import handler as llm_answer
from functions.llm_answer import outcome, semantic, wording
from functions.llm_answer.citations import tie
from functions.llm_answer.currency import Currency, currency
from functions.llm_answer.outcome import Asked, Work
from functions.llm_answer.ports import Semantic
from functions.llm_answer.wording import Verdict
from knts import answers, events
from knts.answer_keys import family_key
from knts.clients.answer_cache import AnswerCache
from knts.clients.records import Records
from knts.clients.redis import Redis, connected
from knts.clients.remembered import Remembered
from knts.events import Event
from knts.index import EVERYONE, group_digest
from knts.local.servers import cache_valkey, durable_valkey, started

MODEL = "small"
STEPPED = ("claim", "raise_to", "refuse", "replace_token", "token", "current", "readable", "since")
CACHED = ("get", "put", "point", "fast", "forget", "near", "answers")
DOCUMENTS = ("open", "closed")  # the second is for staff alone at first
AT_ONCE = 16  # interleavings, which know nothing of each other, so that Redis is not waited for
QUESTION, OTHERWISE = "What does it say?", "What is said there?"


class Alike:
    """Embeds all questions alike."""

    async def embed(self, *_: Any) -> list[list[float]]:
        return [[0.25] * 16]


def _without(reason: str) -> Callable[..., str]:
    """The tier's look at the documents, blind for this reason."""
    real = semantic.unfit

    def unfit(*args: Any) -> str:
        found = real(*args)
        return "" if found == reason else found

    return unfit


# What is broken in the functions, and by what; World breaks the other parts
BROKEN: dict[str, Any] = {
    "key": (outcome, "answer_key", lambda *_: "0" * 64),
    "evidence": (semantic, "cites_what_is_found", lambda *_: True),
    "scope": (outcome, "family_key", lambda tenant, _, *rest: family_key(tenant, (), *rest)),
    "changed": (semantic, "unfit", _without(semantic.CHANGED)),
    "newer": (semantic, "unfit", _without(semantic.NEWER)),
}
PLANTS = ("token", "currency", "search", "standing", *BROKEN)


class Wrong(AssertionError):
    """An answer that must not have been given."""


class Turns:
    """Gives one of those who wait the next step, by the dice; time is the number of steps."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()
        self._over = False

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Somebody more who takes steps."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._changed.set())
        self.tasks.append(task)

    async def turn(self) -> None:
        """Wait for the next step to be ours."""
        if self._over:  # what a cancelled one does last needs no order
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._changed.set()
        await mine

    async def run(self) -> None:
        """Until all have ended. Raises what one of them raised."""
        self._over = False
        try:
            while True:
                while len(self._waiting) < sum(not task.done() for task in self.tasks):
                    self._changed.clear()
                    await self._changed.wait()
                for task in self.tasks:
                    if task.done():
                        task.result()
                if not self._waiting:
                    return
                self.now += 1
                self._waiting.pop(self.chance.randrange(len(self._waiting))).set_result(None)
        finally:
            self._over = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass(frozen=True)
class Became:
    """A version of a document became the current one, or the deletion of it."""

    at: int
    document_id: str
    version: int
    gone: bool
    readers: tuple[str, ...]


class Index:
    """What stands for Typesense: the chunks that were written, by document, version and content."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[str, int, str], list[dict[str, Any]]] = {}

    async def add(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            chunk = json.loads(line)
            name = (chunk["document"], chunk["version"], chunk["content"])
            self.chunks[name] = [*(one for one in self.chunks.get(name, []) if one["chunk"] != chunk["chunk"]), chunk]

    async def drop_older(self, document: str, version: int, content: str, chunks: int) -> None:
        self._drop(document, lambda other, _: other < version)

    async def drop_up_to(self, document: str, version: int) -> None:
        self._drop(document, lambda other, _: other <= version)

    async def drop_own(self, document: str, version: int, content: str) -> None:
        self._drop(document, lambda other, theirs: (other, theirs) == (version, content))

    def _drop(self, document: str, which: Callable[[int, str], bool]) -> None:
        for name in [name for name in self.chunks if name[0] == document and which(name[1], name[2])]:
            del self.chunks[name]

    async def find(self, groups: Collection[str]) -> list[dict[str, Any]]:
        mine = {EVERYONE, *map(group_digest, groups)}
        found = [chunk for chunks in self.chunks.values() for chunk in chunks if mine & set(chunk["readers"])]
        return sorted(found, key=lambda chunk: (chunk["document_id"], -chunk["version"]))


@dataclass
class World:
    """One interleaving."""

    seed: int
    redis: Redis
    cache_redis: Redis
    plant: str = ""
    log: list[Became] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.tenant = f"interleaving-{self.seed}"
        self.turns = Turns(self.chance)
        self.records = self._stepped(Records(self.redis), STEPPED)
        self.cache = self._stepped(AnswerCache(self.cache_redis), CACHED)
        self.index: Any = self._stepped(Index(), ("add", "drop_older", "drop_up_to", "drop_own", "find"))
        if self.plant == "token":
            self.records.token = self._constant("the same for ever")
        self.token_read: dict[asyncio.Task[Any] | None, int] = {}  # when each who asks has read it last
        self.remembered = Remembered(self.records, self.cache, MODEL)
        self.tools: Any = SimpleNamespace(
            asks=SimpleNamespace(now_ms=lambda: 1),
            cache=self.cache,
            records=self.records,
            semantic=Semantic(Alike(), "alike", seconds=1.0),
        )
        self.asked_of: dict[str, int] = {}  # when was asked, the latest time, for what was written, by its key
        self.numbered = 0

    def _stepped(self, client: Any, names: Collection[str]) -> Any:
        for name in names:
            setattr(client, name, self._stepping(name, getattr(client, name)))
        return client

    def _stepping(self, name: str, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*args: Any, **more: Any) -> Any:
            await self.turns.turn()
            result = await real(*args, **more)
            if name == "token":
                self.token_read[asyncio.current_task()] = self.turns.now
            if name == "raise_to" and result in ("first", "raised"):
                gone, readers = more["status"] == "removed", tuple(more.get("acl", ()))
                self.log.append(Became(self.turns.now, args[1], args[2], gone, readers))
            return result

        return step

    @staticmethod
    def _constant(value: Any) -> Callable[..., Awaitable[Any]]:
        async def constant(*_: Any) -> Any:
            return value

        return constant

    # -- what happens -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let it happen. Raises Wrong."""
        for document_id, readers in zip(DOCUMENTS, ([], ["staff"]), strict=True):
            self.turns.begin(self._deliver(self._upserted(document_id, 1, readers)))
        await self.turns.run()
        for document_id in DOCUMENTS:
            version = 1
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                version += 1
                self.turns.begin(self._deliver(self._changed(document_id, version)))
        for _ in range(self.chance.choice((2, 3))):
            self.turns.begin(self._asks(self.chance.choice(((), ("staff",))), self.chance.choice((1, 2))))
        await self.turns.run()

    def _changed(self, document_id: str, version: int) -> Event:
        """A new text, another circle of readers, or none at all."""
        what = self.chance.choice(("text", "text", "readers", "gone"))
        if what == "gone":
            return self._event(events.DOCUMENT_DELETED, {"id": document_id, "version": version})
        return self._upserted(document_id, version, self.chance.choice(([], ["staff"])))

    def _upserted(self, document_id: str, version: int, readers: Sequence[str]) -> Event:
        text = f"Version {version} of {document_id} says number {version}."
        data = {"id": document_id, "version": version, "title": document_id, "text": text, "acl": list(readers)}
        return self._event(events.DOCUMENT_UPSERTED, data)

    def _event(self, kind: str, data: dict[str, Any]) -> Event:
        self.numbered += 1
        named = {"tenant": self.tenant, "correlationid": f"{self.numbered:032x}"}
        return events.new_event(kind, "/bench", data, id=str(self.numbered), **named)

    async def _deliver(self, event: Event) -> None:
        """To index-document, sometimes twice; what it says goes to cache-writer."""
        handle = index_document.upsert if event.type == events.DOCUMENT_UPSERTED else index_document.delete
        for _ in range(self.chance.choice((1, 1, 1, 2))):
            reply = await handle(event, records=self.records, index=self.index)
            if reply is not None and reply.type != events.DOCUMENT_REJECTED:
                self._tell(cache_writer.forget, reply)

    def _tell(self, handle: Callable[..., Awaitable[None]], event: Event) -> None:
        async def deliver() -> None:
            await handle(event, cache=self.cache)

        for _ in range(self.chance.choice((1, 1, 1, 2))):
            self.turns.begin(deliver())

    async def _asks(self, groups: tuple[str, ...], times: int) -> None:
        """Somebody asks, once or again, and looks at what he got some time later."""
        for _ in range(times):
            await self.turns.turn()
            asked_at = self.turns.now
            seconds, micros = await self.redis.time()
            final = await self._answer(groups, asked_at, seconds * 1000 + micros // 1000)
            if final is not None:
                await self._look_again(groups, final)

    async def _answer(self, groups: tuple[str, ...], asked_at: int, ms: int) -> dict[str, Any] | None:
        request = {"question": self.chance.choice((QUESTION, OTHERWISE)), "groups": list(groups)}
        if (known := await self.remembered.recall(self.tenant, groups, request)) is not None:
            final = answers.from_completed(known, 1)
            read_at = max(asked_at, self.token_read.get(asyncio.current_task(), 0))
            reworded = "answered_from" in final
            self._check(groups, asked_at, read_at, final, "fast, reworded" if reworded else "fast")
            return final
        event = await self._found(request, groups)
        asked = Asked.of(event, MODEL, {"created": str(ms)})
        work = Work(asked, MODEL, "digest", options={}, prompt_version="1", shown=asked.passages)
        before = await currency(self.records, self.tenant, work.shown)
        checked_at = self.turns.now
        if hit := await llm_answer.cached(work, before, self.tools):
            self._check(groups, asked_at, checked_at, hit, "hit")
            self._tell(cache_writer.remember, outcome.reply(work, hit, cache="hit"))
            return hit
        work = await semantic.with_meaning(work, self.tools)
        if known := await semantic.reworded(work, before, self.tools):
            self._check(groups, asked_at, self.turns.now, known, "reworded")
            self._tell(cache_writer.remember, outcome.reply(work, known, cache="semantic"))
            return known
        if not work.shown:
            self.told["nothing found"] += 1
            return None
        await self.turns.turn()  # it is written
        return await self._written(work, groups, asked_at)

    async def _found(self, request: dict[str, Any], groups: tuple[str, ...]) -> Event:
        """What the search function does: the token first, then the index, then which versions are current."""
        token = await self.records.token(self.tenant)
        chunks = await self.index.find(groups)
        current = await self.records.current(self.tenant, {chunk["document_id"] for chunk in chunks})
        good = [
            each for each in chunks if self.plant == "search" or each["version"] == current.get(each["document_id"])
        ]
        names = ("document_id", "version", "chunk", "title", "start", "end", "text")
        passages = [{name: chunk[name] for name in names} for chunk in good]
        if len(passages) > 1 and not self.chance.randrange(3):
            passages = [self.chance.choice(passages)]
        data = {"request": request, "passages": passages, "index_token": token}
        return self._event(events.PASSAGES_FOUND, data)

    async def _written(self, work: Work, groups: tuple[str, ...], asked_at: int) -> dict[str, Any] | None:
        told = work.shown if self.chance.randrange(2) else [self.chance.choice(work.shown)]
        said = " ".join(passage["text"] for passage in told)
        tied = tie(said, work.shown, QUESTION)
        after = await currency(self.records, self.tenant, work.shown)
        if self.plant == "currency":
            after = Currency(frozenset(), frozenset())
        if after.removed:
            self.told["withheld"] += 1
            return None
        parts = {"citations": tied.citations, "sentences": tied.sentences, "stale": after.stale(tied.citations)}
        final = outcome.final("completed", work, 1, answer=said, **parts)
        self._check(groups, asked_at, self.turns.now, final, "stale" if final["stale"] else "written")
        self.asked_of[work.key] = max(asked_at, self.asked_of.get(work.key, 0))
        self._tell(cache_writer.remember, outcome.reply(work, final))
        return final

    async def _look_again(self, groups: tuple[str, ...], final: dict[str, Any]) -> None:
        quoted = quotes(final)
        stands = standing(quoted, await self.records.readable(self.tenant, groups, quoted))
        shown = final if self.plant == "standing" else stands.shown(final)
        self._check_shown(groups, final, shown)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def current(self, document_id: str, at: int) -> Became | None:
        """What was current of a document after that step."""
        return next((each for each in reversed(self.log) if each.document_id == document_id and each.at <= at), None)

    def _check(self, groups: tuple[str, ...], asked_at: int, checked_at: int, final: dict[str, Any], how: str) -> None:
        self.told[how] += 1
        if not final["citations"]:
            raise Wrong(self._said(f"nothing is cited in {final['answer']!r}"))
        for citation in final["citations"]:
            name, version = citation["document_id"], citation["version"]
            was, now = self.current(name, asked_at), self.current(name, checked_at)
            became = next((each for each in self.log if (each.document_id, each.version) == (name, version)), None)
            if was is None or now is None or became is None or became.gone:
                raise Wrong(self._said(f"{how}: cites {name} {version}, which never was"))
            if was.version > version:
                raise Wrong(self._said(f"{how}: cites {name} {version}; {was.version} was current when it was asked"))
            if now.gone or (now.version != version and not final["stale"]):
                raise Wrong(self._said(f"{how}: cites {name} {version} without a word of {now.version}"))
            if became.readers and not set(became.readers) & set(groups):
                raise Wrong(self._said(f"{how}: gives {name} {version} to one who may not read it"))

        if "answered_from" in final:
            self._check_reworded(groups, checked_at, final, how)

    def _check_reworded(self, groups: tuple[str, ...], checked_at: int, final: dict[str, Any], how: str) -> None:
        found = {(each["document_id"], each["version"]) for each in final["passages"]}
        source = final["answered_from"]
        written_from = {(name, version) for name, version, _ in source["evidence"]}
        for name, version in written_from:
            now = self.current(name, checked_at)
            if now is None or now.gone or now.version != version:
                raise Wrong(self._said(f"{how}: was written from {name} {version}"))
            if now.readers and not set(now.readers) & set(groups):
                raise Wrong(self._said(f"{how}: was written from {name} {version}, which he may not read"))
        for citation in final["citations"]:
            if (citation["document_id"], citation["version"]) not in found:
                raise Wrong(self._said(f"{how}: cites {citation['document_id']}, which was not found for him"))
        for became in self.log:
            place = (became.document_id, became.version)
            if place in found - written_from and became.at > self.asked_of[source["key"]]:
                raise Wrong(self._said(f"{how}: is older than {became.document_id} {became.version}"))

    def _check_shown(self, groups: tuple[str, ...], final: dict[str, Any], shown: dict[str, Any]) -> None:
        for citation in final["citations"]:
            name, version = citation["document_id"], citation["version"]
            now = self.current(name, self.turns.now)
            hidden = now is None or now.gone or bool(now.readers and not set(now.readers) & set(groups))
            if hidden and shown.get("answer"):
                raise Wrong(self._said(f"shows {name} {version} although it is gone"))
            if not hidden and now and now.version != version and shown.get("answer") and not shown["stale"]:
                raise Wrong(self._said(f"shows {name} {version} again without a word of {now.version}"))

    def _said(self, what: str) -> str:
        history = ", ".join(f"{each.at}: {each.document_id} {each.version}{' gone' * each.gone}" for each in self.log)
        return f"seed {self.seed}, step {self.turns.now}: {what} ({history})"


async def interleave(
    redis_url: str, cache_url: str, seeds: Collection[int], plant: str = ""
) -> tuple[Counter[str], list[str]]:
    """How the answers of these interleavings came about, and what was wrong with which."""
    told: Counter[str] = Counter()
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(wording, "same", lambda *_: Verdict()))
        stack.enter_context(patch.object(semantic, "MARGIN_MS", 0))  # one clock here, and no time to wait
        if plant in BROKEN:
            stack.enter_context(patch.object(*BROKEN[plant]))
        redis = await stack.enter_async_context(connected(redis_url))
        cache = await stack.enter_async_context(connected(cache_url))
        waiting = iter(seeds)

        async def some() -> None:
            for seed in waiting:
                world = World(seed, redis, cache, plant)
                try:
                    await world.run()
                except Wrong as error:
                    wrong.append(str(error))
                told.update(world.told)
                told["steps"] += world.turns.now

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return told, sorted(wrong)


def main() -> int:
    """Run them; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others follow")
    parser.add_argument("--plant", choices=PLANTS, default="", help="break this part")
    wanted = parser.parse_args()
    seeds = range(wanted.seed, wanted.seed + wanted.count)
    with tempfile.TemporaryDirectory() as home:
        durable = durable_valkey(Path(home, "redis"), Path(home, "redis.log"))
        cache = cache_valkey(Path(home, "cache"), Path(home, "cache.log"))
        children = [started(durable), started(cache)]
        try:
            began = time.monotonic()
            told, wrong = asyncio.run(interleave(durable.url, cache.url, seeds, wanted.plant))
            took = time.monotonic() - began
        finally:
            for child in children:
                child.stop()
    steps = told.pop("steps")
    print(f"{wanted.count} interleavings, seeds {seeds.start} to {seeds.stop - 1}, {steps} steps, {took:.0f} s")
    print("answers: " + ", ".join(f"{count} {how}" for how, count in told.most_common()))
    print(f"{len(wrong)} interleavings with a wrong answer")
    most = 100 * wilson(len(wrong), wanted.count)[1]
    headline("cache", "interleavings with a wrong answer", f"{len(wrong)} of {wanted.count} (≤ {most:.2f} %)", "0")
    for line in wrong[:5]:
        print(f"  {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
