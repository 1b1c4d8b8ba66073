"""Cached answers under any order and duplication of what fills and empties the cache, while documents change and their
writers die half-way; on real Valkeys, with the functions' own parts.

Whoever asks never gets, by the fast path of ingress or by llm-answer's key, an answer from other evidence than what he
would be shown now, nor one of another tenant or group; and nothing of a removed document in an answer given before.
A failing run is printed as the steps that lead to it, with the blob that repeats it (`@reproduce_failure`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from functions.cache_writer import handler as cache_writer
from functions.ingress.standing import quotes, standing
from functions.llm_answer import handler as llm_answer
from functions.llm_answer import outcome
from functions.llm_answer.currency import currency
from functions.llm_answer.outcome import Asked, Work
from knts import answers, events, schemas
from knts.clients.answer_cache import AnswerCache
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.remembered import Remembered
from knts.events import Event

MODEL = "small"
READERS = {"open": (), "staff only": ("staff",)}  # the documents, and who may read them
STEPS = 4  # of a writer: token, claim, raise, token
# What happens to one question about one document is what is hard; the others are there to be mixed up with it.
TENANTS = st.sampled_from(["t"] * 6 + ["u"])
DOCUMENTS = st.sampled_from(["open"] * 4 + ["staff only"])
GROUPS = st.sampled_from([()] * 4 + [("staff",)])
QUESTIONS = st.sampled_from(["Who?"] * 4 + ["Where?"])
GONE = st.sampled_from([False, False, True])
ASKERS = st.tuples(TENANTS, GROUPS, QUESTIONS)
Asker = tuple[str, tuple[str, ...], str]
Step = Callable[[], Coroutine[Any, Any, None]]
Name = tuple[str, str]  # tenant and document id


@dataclass(frozen=True)
class Looked:
    """A search that has read the token and nothing else yet."""

    asker: Asker
    token: str


class CacheMachine(RuleBasedStateMachine):
    """Two documents of two tenants. The model is which versions are current and which removals there were."""

    searches = Bundle("searches")
    found = Bundle("found")
    told = Bundle("told")  # events for cache-writer, which come in any order and more than once

    def __init__(self, redis_url: str, cache_url: str) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.open = AsyncExitStack()
        self.run(self._opened(redis_url, cache_url))
        self.current: dict[Name, int] = {}
        self.highest: dict[Name, int] = defaultdict(int)
        self.removed: dict[Name, int] = defaultdict(int)
        self.given: list[tuple[Asker, dict[str, Any]]] = []
        self.keys: dict[str, str] = {}  # the one text of each answer key
        self.numbered = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    async def _opened(self, redis_url: str, cache_url: str) -> None:
        redis = await self.open.enter_async_context(connected(redis_url))
        cache = await self.open.enter_async_context(connected(cache_url))
        await redis.flushall()
        await cache.flushall()
        self.records, self.cache = Records(redis), AnswerCache(cache)
        self.remembered = Remembered(self.records, self.cache, MODEL)

    # -- documents change ---------------------------------------------------------------------------------------------

    @rule(target=told, tenant=TENANTS, document_id=DOCUMENTS, gone=GONE)
    def change(self, tenant: str, document_id: str, gone: bool) -> Any:
        self.highest[tenant, document_id] += 2
        return self.written(tenant, document_id, self.highest[tenant, document_id], gone)

    @rule(target=told, tenant=TENANTS, document_id=DOCUMENTS, gone=st.booleans())
    def change_late(self, tenant: str, document_id: str, gone: bool) -> Any:
        """A version that nobody has seen before comes after the one that follows it."""
        version = self.highest[tenant, document_id] - 1
        return self.written(tenant, document_id, version, gone) if version > 0 else multiple()

    @rule(
        target=told,
        document_id=DOCUMENTS,
        gone=GONE,
        at=st.integers(0, STEPS),
        dies=st.integers(0, STEPS),
        asker=ASKERS,
    )
    def change_while_somebody_asks(self, document_id: str, gone: bool, at: int, dies: int, asker: Asker) -> Any:
        """He asks between two steps of a writer, who dies later on; his version is taken up by no other then."""
        self.highest[asker[0], document_id] += 2
        version = self.highest[asker[0], document_id]
        steps = self.writing(asker[0], document_id, version, gone)
        told: list[Event] = []
        for number, step in enumerate(steps[:dies]):
            if number == at:
                told += self.asked(asker)
            self.run(step())
        return multiple(*told)

    def written(self, tenant: str, document_id: str, version: int, gone: bool) -> Event:
        for step in self.writing(tenant, document_id, version, gone):
            self.run(step())
        kind = events.DOCUMENT_REMOVED if gone else events.DOCUMENT_INDEXED
        data = {"id": document_id, "version": version} | ({} if gone else {"chunks": 1, "content_hash": "0" * 64})
        return self.event(kind, data, tenant)

    def writing(self, tenant: str, document_id: str, version: int, gone: bool) -> list[Step]:
        """What index-document does to the records, step by step."""
        name, acl, content = (tenant, document_id), READERS[document_id], "gone" if gone else "there"
        claims: list[str] = []

        async def replace_token() -> None:
            await self.records.replace_token(tenant)

        async def claim() -> None:
            claims.append(await self.records.claim(tenant, document_id, version, content, acl, removal=gone))
            if gone and claims == ["superseded"]:
                self.removed[name] = max(version, self.removed[name])

        async def make_current() -> None:
            if claims != ["claimed"]:
                return
            status: Any = "removed" if gone else "indexed"
            await self.records.raise_to(tenant, document_id, version, content, status=status, acl=acl)
            self.current[name] = 0 if gone else version
            if gone:
                self.removed[name] = version

        return [replace_token, claim, make_current, replace_token]

    # -- people ask ---------------------------------------------------------------------------------------------------

    @rule(target=searches, asker=ASKERS)
    def begin_to_search(self, asker: Asker) -> Looked:
        return self.looked(asker)

    def looked(self, asker: Asker) -> Looked:
        return Looked(asker, self.run(self.records.token(asker[0])))

    @rule(target=found, search=consumes(searches))
    def find(self, search: Looked) -> Event:
        return self.run(self._find(search))  # type: ignore[no-any-return]

    @rule(target=told, asker=ASKERS)
    def ask_and_remember(self, asker: Asker) -> Any:
        """All of it in a row."""
        return multiple(*self.asked(asker))

    def asked(self, asker: Asker) -> list[Event]:
        told: list[Event] = self.run(self._answer(self.run(self._find(self.looked(asker)))))
        for event in told:
            self.deliver(event)
        return told

    @rule(target=told, event=found)
    def answer(self, event: Event) -> Any:
        return multiple(*self.run(self._answer(event)))

    @rule(target=told, asker=ASKERS, document_id=DOCUMENTS, gone=GONE)
    def answer_again_after_a_change(self, asker: Asker, document_id: str, gone: bool) -> Event:
        """The event that asked comes again; cache-writer has stored its answer and not yet heard of the change."""
        event = self.run(self._find(self.looked(asker)))
        for each in self.run(self._answer(event)):
            self.deliver(each)
        changed: Event = self.change(asker[0], document_id, gone)
        self.run(self._answer(event))
        return changed

    async def _find(self, search: Looked) -> Event:
        tenant, groups, question = search.asker
        shown = await self.records.readable(tenant, groups, READERS)
        passages = [
            {
                "document_id": each,
                "version": shown[each].version,
                "chunk": 0,
                "title": "T",
                "start": 0,
                "end": 1,
                "text": "x",
            }
            for each in sorted(shown)
        ]
        request = {"question": question, "groups": list(groups)}
        data = {"request": request, "passages": passages, "index_token": search.token}
        return self.event(events.PASSAGES_FOUND, data, tenant)

    async def _answer(self, event: Event) -> list[Event]:
        """What llm-answer makes of it, but for the words: a cached answer, or one that stands at its end."""
        asked = Asked.of(event, MODEL)
        work = Work(asked, MODEL, "digest", {}, "1", shown=asked.passages)
        tools: Any = SimpleNamespace(cache=self.cache, asks=SimpleNamespace(now_ms=lambda: 1))
        text = self.keys.setdefault(work.key, f"{asked.question} {event.tenant} {asked.request['groups']} {work.key}")
        before = await currency(self.records, event.tenant, work.shown)
        if hit := await llm_answer.cached(work, before, tools):
            assert hit["answer"] == text
            assert before.current
            self.give(asked, hit)
            return [outcome.reply(work, hit, cache="hit")]
        after = await currency(self.records, event.tenant, work.shown)
        if after.removed or not work.shown:
            return []
        quoted = [
            {**{name: each[name] for name in ("document_id", "version", "title", "start", "end")}, "quote": "x"}
            for each in work.shown
        ]
        places = {"sha256": "0" * 64, "answer_start": 0, "answer_end": 1}
        citations = [{**each, **places} for each in quoted]
        stale = after.stale(citations)
        end = outcome.final("completed", work, 1, answer=text, citations=citations, stale=stale)
        self.give(asked, end)
        return [outcome.reply(work, end)]

    def give(self, asked: Asked, final: dict[str, Any]) -> None:
        asker = (asked.event.tenant, tuple(asked.request["groups"]), asked.question)
        self.given = [*self.given[-9:], (asker, final)]

    def event(self, kind: str, data: dict[str, Any], tenant: str) -> Event:
        self.numbered += 1
        named = {"tenant": tenant, "correlationid": f"{self.numbered:032x}"}
        event = events.new_event(kind, "/tests", data, id=str(self.numbered), **named)
        schemas.check_data(event)
        return event

    # -- cache-writer -------------------------------------------------------------------------------------------------

    @rule(event=told)
    def deliver(self, event: Event) -> None:
        if event.type == events.ANSWER_COMPLETED:
            schemas.check_data(event)
            self.run(cache_writer.remember(event, cache=self.cache))
        else:
            self.run(cache_writer.forget(event, cache=self.cache))

    @rule(event=told)
    def deliver_and_look(self, event: Event) -> None:
        """A document's answers are gone after its event, whatever version it speaks of."""
        self.deliver(event)
        if event.type != events.ANSWER_COMPLETED:
            kept = [self.run(self.cache.get(key)) for key in self.keys]
            mine = [each for each in kept if each and each["answer"].split()[1] == event.tenant]
            assert not [each for each in mine if any(name == event.payload["id"] for name, _, _ in each["evidence"])]

    @rule(often=st.integers(0, 5))
    def evict(self, often: int) -> None:
        if not often:
            self.run(self.cache.redis.flushall())

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_fast_path_gives_what_would_be_found_now(self) -> None:
        self.run(self._recall())

    async def _recall(self) -> None:
        for tenant in ("t", "u"):
            for groups in ((), ("staff",)):
                for question in ("Who?", "where"):
                    known = await self.remembered.recall(tenant, groups, {"question": question, "groups": list(groups)})
                    if known is not None:
                        assert sorted(map(tuple, known["evidence"])) == self.evidence(tenant, groups)
                        assert known["groups"] == list(groups)
                        assert known["answer"] == self.keys[known["key"]]
                        assert known["answer"].split()[:2] == [question.capitalize().rstrip("?") + "?", tenant]
                        final = answers.from_completed(known, 1)
                        assert not (await self._standing((tenant, groups, question), final)).removed

    def evidence(self, tenant: str, groups: tuple[str, ...]) -> list[tuple[str, int, int]]:
        """What a search of theirs finds now."""
        return sorted(
            (document_id, self.current[tenant, document_id], 0)
            for document_id, acl in READERS.items()
            if self.current.get((tenant, document_id)) and (not acl or set(acl) & set(groups))
        )

    @invariant()
    def a_key_leads_to_its_own_answer(self) -> None:
        self.run(self._get())

    async def _get(self) -> None:
        for key, text in self.keys.items():
            found = await self.cache.get(key)
            assert found is None or (found["key"], found["answer"]) == (key, text)

    @invariant()
    def what_was_given_shows_nothing_of_what_was_removed(self) -> None:
        self.run(self._given())

    async def _given(self) -> None:
        for asker, final in self.given:
            stands = await self._standing(asker, final)
            quoted = [(asker[0], each["document_id"], each["version"]) for each in final["citations"]]
            removed = any(
                not self.current.get((tenant, name)) or version < self.removed[tenant, name]
                for tenant, name, version in quoted
            )
            assert stands.removed == removed
            if removed:
                assert (stands.shown(final).get("answer", ""), stands.shown(final).get("citations", [])) == ("", [])
            else:
                changed = any(self.current[tenant, name] != version for tenant, name, version in quoted)
                assert stands.shown(final)["stale"] == (final["stale"] or changed)

    async def _standing(self, asker: Asker, final: dict[str, Any]) -> Any:
        quoted = quotes(final)
        return standing(quoted, await self.records.readable(asker[0], asker[1], quoted))

    def teardown(self) -> None:
        self.run(self.open.aclose())
        self.loop.close()


@pytest.mark.timeout(600)  # only a failing run takes that long: its steps are made fewer
def test_no_answer_is_given_that_would_be_another_now(durable_server: str, cache_server: str) -> None:
    run_state_machine_as_test(
        partial(CacheMachine, durable_server, cache_server),
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
