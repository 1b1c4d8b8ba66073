"""Another wording of an answered question, over real Redis servers and a scripted Ollama: who gets the answer, who not.

Which wordings mean the same is the test's to say here; `tests/unit/test_wording.py` has the judge.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
import yaml

from functions.cache_writer import handler as cache_writer
from functions.llm_answer import semantic, wording
from functions.llm_answer.ports import Semantic
from functions.llm_answer.wording import Verdict
from knts import answers, citations, telemetry
from knts.answer_keys import fast_key
from knts.clients.answer_cache import AnswerCache
from knts.clients.redis import Redis, connected
from knts.embeddings import normalised
from knts.errors import Temporary
from knts.schemas import SCHEMAS
from tests.answering import QUESTION, TEXT, Desk, desk, found, passage
from tests.scripted_ollama import says

REWORDED = "In which country does Hamlet take place?"
FARAWAY = "Who keeps watch?"
LATER = 60_000  # ms after the documents came
CONTRACT = yaml.safe_load((SCHEMAS / "openapi.yaml").read_text(encoding="utf-8"))
ANSWER = jsonschema_rs.Draft202012Validator({**CONTRACT, "$ref": "#/components/schemas/Answer"})


class Embedder:
    """Knows three questions; others are like none of them."""

    def __init__(self) -> None:
        self.known = {QUESTION: (1.0, 0.0, 0.0), REWORDED: (1.0, 0.1, 0.0), FARAWAY: (0.0, 1.0, 0.0)}
        self.away = False
        self.asked: list[str] = []

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        self.asked += texts
        if self.away:
            raise Temporary("nobody embeds")
        return [normalised(self.known.get(text, (0.0, 0.0, 1.0)) * 16) for text in texts]


class Tier(Desk):
    """A desk whose semantic tier is on, and a cache-writer that hears of every answer."""

    embedder: Embedder

    def on(self, embedder: Embedder, model: str = "minilm") -> None:
        self.embedder = embedder
        self.tools = replace(self.tools, semantic=Semantic(embedder, model, 1.0))

    async def asks(self, question: str, *passages: dict[str, Any], at: int = LATER, **request: Any) -> dict[str, Any]:
        """Somebody asks, `at` ms from now; the data of the reply, after cache-writer has heard of it."""
        ask_id = f"a{len(self.embedder.asked)}-{time.monotonic_ns()}"
        leaned = {"standalone": question} if request.pop("leaned", False) else {}
        await self.opened(ask_id, question=question, created=str(time.time_ns() // 1_000_000 + at), **leaned)
        reply = await self.deliver(found(ask_id, *(passages or (passage(),)), question=question, **request))
        assert reply is not None
        await cache_writer.remember(reply, cache=self.cache)
        return {**reply.payload, "ask": ask_id}


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tier]:
    monkeypatch.setattr(
        wording, "same", lambda _, __, like, model: Verdict("" if like > 0.9 else f"likeness by {model}")
    )
    async with desk(redis, redis_cache) as made:
        tier = Tier(**vars(made))
        tier.on(Embedder())
        yield tier


class TestServed:
    async def test_another_wording_gets_the_answer_and_is_told_for_which_it_was_written(self, at: Tier) -> None:
        known = await at.asks(QUESTION)
        told = await at.asks(REWORDED)
        assert (known["cache"], told["cache"], len(at.ollama.asked)) == ("miss", "semantic", 1)
        assert told["answered_from"] == {name: known[name] for name in ("question", "key", "evidence")}
        assert (told["answer"], told["citations"], told["model"]) == (known["answer"], known["citations"], "small")
        assert told["usage"] == {"prompt_tokens": 0, "completion_tokens": 0}
        assert "wording" not in told, "only what was written for a wording is compared with others"
        assert await at.types(told["ask"]) == ["delta", "citation", "completed"]

    async def test_what_the_asker_gets_is_whole_and_can_be_verified(self, at: Tier) -> None:
        await at.asks(QUESTION)
        told = await at.asks(REWORDED)
        ask = await at.about(told["ask"])
        answer = answers.compose({**ask, "id": "0" * 32}, await at.final(told["ask"]))
        assert ANSWER.is_valid(answer)
        assert (answer["cache"], answer["question"], answer["answered_question"]) == ("semantic", REWORDED, QUESTION)
        documents = {"hamlet": citations.Text("x" * 10 + TEXT, 1)}
        assert citations.faults(answer, documents) == []
        assert citations.faults({**answer, "answered_question": "Who?"}, documents) != []

    async def test_its_passages_are_the_askers_own(self, at: Tier) -> None:
        await at.index("lear")
        await at.asks(QUESTION)
        mine = [passage("lear", text="Lear takes place in Britain, a country."), passage()]
        assert (await at.asks(REWORDED, *mine))["passages"] == mine

    async def test_a_document_that_was_there_already_is_no_news(self, at: Tier) -> None:
        await at.index("lear")
        await at.asks(QUESTION, at=semantic.MARGIN_MS + LATER)
        assert (await at.asks(REWORDED, passage(), passage("lear")))["cache"] == "semantic"

    async def test_a_larger_passage_around_the_same_words_is_enough(self, at: Tier) -> None:
        await at.asks(QUESTION, passage(text="The scene is in Denmark.", start=10))
        assert (await at.asks(REWORDED, passage(text="0123456789" + TEXT, start=0)))["cache"] == "semantic"

    async def test_the_same_words_over_other_evidence_may_have_it_too(self, at: Tier) -> None:
        await at.index("lear")
        await at.asks(QUESTION)
        assert (await at.asks(QUESTION, passage(), passage("lear")))["cache"] == "semantic"

    async def test_a_delivery_that_comes_again_says_the_same(self, at: Tier) -> None:
        await at.asks(QUESTION)
        await at.opened("twice", created=str(time.time_ns() // 1_000_000))
        event = found("twice", passage(), question=REWORDED)
        replies = [await at.deliver(event) for _ in range(2)]
        assert replies[0] == replies[1]
        assert await at.types("twice") == ["delta", "citation", "completed"]

    async def test_the_likest_that_may_be_served_is(self, at: Tier) -> None:
        """A likelier one that cites what he was not shown stands in nobody's way."""
        await at.index("lear")
        one, other = TEXT.split(". ")
        at.ollama.scripts = [says(TEXT), says(f"{one}.")]
        at.embedder.known |= {"Where does Hamlet nest?": (1.0, 0.1, 0.01)}
        both = (passage(text=f"{one}."), passage("lear", text=other))
        likest = await at.asks("Where does Hamlet nest?", *both)
        known = await at.asks(QUESTION, *both, cache="refresh")
        assert [len(each["citations"]) for each in (likest, known)] == [2, 1]
        assert (await at.asks(REWORDED, both[0]))["answered_from"]["key"] == known["key"]


class TestNotServed:
    async def test_what_is_cited_is_not_in_his_evidence(self, at: Tier) -> None:
        await at.index("lear")
        await at.asks(QUESTION)
        assert (await at.asks(REWORDED, passage("lear")))["cache"] == "miss"

    async def test_another_place_of_the_same_document_is(self, at: Tier) -> None:
        await at.asks(QUESTION)
        place = passage(text="Hamlet takes place in another country.", start=5000)
        assert (await at.asks(REWORDED, place))["cache"] == "miss"

    async def test_one_of_its_citations_is_not(self, at: Tier) -> None:
        await at.index("lear")
        at.ollama.scripts = [says(TEXT)]
        one, other = TEXT.split(". ")
        known = await at.asks(QUESTION, passage(text=f"{one}."), passage("lear", text=other))
        assert [each["document_id"] for each in known["citations"]] == ["hamlet", "lear"]
        assert (await at.asks(REWORDED, passage(text=f"{one}.")))["cache"] == "miss"

    async def test_the_cited_document_has_changed(self, at: Tier) -> None:
        await at.asks(QUESTION)
        await at.index("hamlet", 2)
        assert (await at.asks(REWORDED, passage(version=2)))["cache"] == "miss"
        assert (await at.asks(REWORDED, passage(version=1)))["cache"] == "miss", "an event that comes late"

    @pytest.mark.parametrize("status", ["indexed", "removed"])
    async def test_what_it_was_written_from_has_changed_though_it_cites_none_of_it(self, at: Tier, status: str) -> None:
        await at.index("lear")
        known = await at.asks(QUESTION, passage(), passage("lear"))
        assert {each["document_id"] for each in known["citations"]} == {"hamlet"}
        await at.index("lear", 2, status)
        assert (await at.asks(REWORDED, passage()))["cache"] == "miss"

    async def test_he_was_found_what_came_after_it(self, at: Tier) -> None:
        await at.asks(QUESTION, at=0)
        await at.index("news")
        news = passage("news", text="Since today Hamlet takes place in another country.")
        assert (await at.asks(REWORDED, news, passage()))["cache"] == "miss"

    async def test_nobody_knows_when_what_he_was_found_came(self, at: Tier, redis: Redis) -> None:
        await at.index("lear")
        await at.asks(QUESTION)
        await redis.hdel("knts:doc:local:lear", "since")
        assert (await at.asks(REWORDED, passage(), passage("lear")))["cache"] == "miss"

    @pytest.mark.parametrize(
        "other",
        [
            {"groups": ["others"]},
            {"groups": ["staff", "others"]},
            {"strict": True},
            {"options": {"temperature": 0.5}},
            {"model": "large"},
            {"format": {"type": "object", "properties": {"place": {"type": "string"}}}},
        ],
        ids=str,
    )
    async def test_something_else_than_the_wording_differs(self, at: Tier, other: dict[str, Any]) -> None:
        at.ollama.models["large:latest"] = "d2"
        at.ollama.scripts = [says("Hamlet takes place in Denmark."), says('{"place": "Denmark"}')]
        await at.asks(QUESTION)
        if "format" not in other:
            at.ollama.scripts = at.ollama.scripts[:1]
        assert (await at.asks(REWORDED, **other))["cache"] == "miss"
        assert len(at.ollama.asked) == 2

    async def test_another_model_made_the_embeddings(self, at: Tier) -> None:
        await at.asks(QUESTION)
        at.on(at.embedder, "bge")
        assert (await at.asks(REWORDED))["cache"] == "miss"

    async def test_the_judge_refuses(self, at: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
        await at.asks(QUESTION)
        monkeypatch.setattr(wording, "same", lambda *_: Verdict("negation"))
        assert (await at.asks(REWORDED))["cache"] == "miss"

    @pytest.mark.parametrize("mode", ["refresh", "off"])
    async def test_he_wants_it_anew(self, at: Tier, mode: str) -> None:
        await at.asks(QUESTION)
        assert (await at.asks(REWORDED, cache=mode))["cache"] == "miss"
        assert at.embedder.asked == [QUESTION] + [REWORDED] * (mode == "refresh")

    async def test_it_cites_nothing(self, at: Tier) -> None:
        at.ollama.scripts = [says("Falstaff drinks sack in Eastcheap.")]
        known = await at.asks(QUESTION)
        assert (known["status"], known["citations"], "wording" in known) == ("completed", [], False)
        assert (await at.asks(REWORDED))["cache"] == "miss"

    async def test_its_question_was_made_of_its_askers_conversation(self, at: Tier) -> None:
        known = await at.asks(QUESTION, leaned=True)
        assert "wording" not in known
        assert (await at.asks(REWORDED))["cache"] == "miss"
        assert (await at.asks(QUESTION, leaned=True))["cache"] == "hit"

    async def test_it_is_still_being_written(self, at: Tier) -> None:
        both = await asyncio.gather(at.asks(QUESTION), at.asks(REWORDED))
        assert [each["cache"] for each in both] == ["miss", "miss"]
        assert len(at.ollama.asked) == 2

    async def test_the_tier_is_off(self, at: Tier) -> None:
        await at.asks(QUESTION)
        at.tools = replace(at.tools, semantic=None)
        told = await at.asks(REWORDED)
        assert (told["cache"], "wording" in told) == ("miss", False)


class TestFailures:
    async def test_without_the_model_that_embeds_it_is_a_miss(self, at: Tier) -> None:
        await at.asks(QUESTION)
        at.embedder.away = True
        told = await at.asks(REWORDED)
        assert (told["cache"], told["status"], "wording" in told) == ("miss", "completed", False)

    async def test_without_the_cache_it_is_a_miss(self, at: Tier, free_port: Any) -> None:
        async with connected(f"redis://127.0.0.1:{free_port()}/0") as nobody:
            at.tools = replace(at.tools, cache=AnswerCache(nobody))
            assert (await at.asks(REWORDED))["cache"] == "miss"

    @pytest.mark.parametrize("pattern", ["knts:answer:*", "knts:near:*", "knts:question:*"])
    async def test_whatever_was_evicted_it_is_a_miss(self, at: Tier, redis_cache: Redis, pattern: str) -> None:
        await at.asks(QUESTION)
        assert (await at.asks(REWORDED))["cache"] == "semantic"
        for name in await redis_cache.keys(pattern):
            await redis_cache.delete(name)
        assert (await at.asks(REWORDED))["cache"] == "miss"

    async def test_an_answer_stored_again_without_its_embedding_is_found_by_no_other_wording(self, at: Tier) -> None:
        await at.asks(QUESTION)
        at.embedder.away = True
        await at.asks(QUESTION, cache="refresh")
        at.embedder.away = False
        assert (await at.asks(REWORDED))["cache"] == "miss"


class TestForgetting:
    async def test_a_document_takes_along_what_was_written_from_it_for_whatever_wording(
        self, at: Tier, redis_cache: Redis
    ) -> None:
        """Even the copy for an asker who was not shown that document."""
        await at.index("lear")
        await at.asks(QUESTION, passage(), passage("lear"))
        told = await at.asks(REWORDED, passage())
        assert (told["cache"], told["evidence"]) == ("semantic", [["hamlet", 1, 0]])
        assert await at.cache.get(told["key"]) is not None
        assert await at.cache.forget("local", "lear") == 2
        assert await at.cache.get(told["key"]) is None
        assert await at.cache.forget("local", "hamlet") == 0  # but what leads to them
        assert [name for name in await redis_cache.keys("*") if not name.startswith(b"knts:fast:")] == []


class TestAskedAgain:
    async def test_while_nothing_has_changed_its_fast_key_leads_to_it_and_says_what_it_is(self, at: Tier) -> None:
        await at.asks(QUESTION)
        told = await at.asks(REWORDED)
        request = {"question": REWORDED, "groups": ["staff"]}
        known = await at.cache.fast(fast_key("token-1", "local", ["staff"], request, "small"))
        assert known is not None
        assert (known["key"], known["passages"]) == (told["key"], told["passages"])
        final = answers.from_completed(known, 1)
        assert answers.compose({"id": "0" * 32}, final)["answered_question"] == QUESTION

    async def test_by_the_road_it_is_judged_again(self, at: Tier) -> None:
        await at.asks(QUESTION, at=0)
        assert [(await at.asks(REWORDED))["cache"] for _ in range(2)] == ["semantic"] * 2
        await at.index("news")
        news = passage("news", text="Since today Hamlet takes place in another country.")
        assert (await at.asks(REWORDED, news, passage()))["cache"] == "miss"

    async def test_no_wording_is_carried_further_by_another(self, at: Tier) -> None:
        """Only what was written for a question is compared, so that small steps don't add up."""
        third = "Which country is Hamlet in?"
        at.embedder.known |= {REWORDED: (1.0, 0.4, 0.0), third: (1.0, 0.8, 0.0)}
        await at.asks(QUESTION)
        assert (await at.asks(REWORDED))["cache"] == "semantic"
        assert (await at.asks(third))["cache"] == "miss"


async def test_what_became_of_other_wordings_is_counted(at: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, str]] = []

    def count(name: str, _: int = 1, /, **labels: str) -> None:
        if name == "knts.cache.rewordings":
            counted.append((labels["outcome"], labels["guard"]))

    monkeypatch.setattr(telemetry, "count", count)
    await at.asks(QUESTION, at=0)
    await at.asks(REWORDED)
    await at.asks(FARAWAY)
    await at.index("lear")
    await at.asks(REWORDED, passage(text=TEXT[:20]))
    await at.asks(REWORDED, passage(), passage("lear"))
    monkeypatch.setattr(wording, "same", lambda *_: Verdict("negation"))
    at.embedder.known |= {"Where does Hamlet not take place?": (1.0, 0.1, 0.0)}
    await at.asks("Where does Hamlet not take place?", passage(text="Hamlet does not take place in Rome."))
    at.embedder.away = True
    await at.asks("Where does Hamlet watch?")
    assert counted == [
        ("none", ""),
        ("served", ""),
        ("none", ""),
        ("foreign", ""),
        ("newer", ""),
        ("guard", "negation"),
        ("away", ""),
    ]


async def test_only_an_exact_miss_is_embedded(at: Tier) -> None:
    await at.asks(QUESTION)
    assert (await at.asks(QUESTION))["cache"] == "hit"
    assert at.embedder.asked == [QUESTION]
