"""llm-answer over real Redis servers and a scripted Ollama: what readers see, what is replied, what is kept."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knts import answers, channel, events
from knts.clients.answer_cache import AnswerCache
from knts.clients.channel import Channel
from knts.clients.ollama import OllamaLimits
from knts.clients.redis import Redis, connected
from knts.errors import Temporary
from tests.answering import QUESTION, TEXT, Desk, desk, found, passage, until
from tests.scripted_ollama import WAIT_FOREVER, done, line, says


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache, limits=OllamaLimits(first_token=1, idle=1, failures=1000), tries=2) as made:
        yield made


class TestAnswering:
    async def test_the_answer_streams_and_ends_with_its_citations(self, at: Desk) -> None:
        at.ollama.scripts = [says(" Hamlet takes", " place ", "in Denmark. \n")]
        reply = await at.ask()
        types = await at.types()
        assert types[0] == "delta"
        assert types[-2:] == ["citation", "completed"]
        final = await at.final()
        assert final["answer"] == "Hamlet takes place in Denmark." == await at.text()
        assert final["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
        assert final["passages"] == [passage()]
        assert final["first_token_at"] <= final["finished_at"]
        assert final["queued_ms"] >= 0
        [citation] = final["citations"]
        assert ("x" * 10 + TEXT)[citation["start"] : citation["end"]] == citation["quote"] == "The scene is in Denmark."
        assert citation["sha256"] == hashlib.sha256(citation["quote"].encode()).hexdigest()
        assert final["answer"][citation["answer_start"] : citation["answer_end"]] == "in Denmark"
        assert reply is not None
        assert (reply.type, reply.subject, reply.correlation_id) == (events.ANSWER_COMPLETED, "a1", "a1")
        data = reply.payload
        assert data["evidence"] == [["hamlet", 1, 0]]
        assert (data["cacheable"], data["stale"], data["cache"], data["index_token"]) == (
            True,
            False,
            "miss",
            "token-1",
        )
        assert data["citations"] == final["citations"]
        composed = answers.compose({**await at.about("a1"), "id": "a1"}, final)
        assert composed["status"] == "completed"

    async def test_the_model_is_asked_once_with_the_passage_and_the_question(self, at: Desk) -> None:
        await at.ask(options={"temperature": 0.5})
        [asked] = at.ollama.asked
        assert TEXT in asked["messages"][-1]["content"]
        assert QUESTION in asked["messages"][-1]["content"]
        assert asked["options"]["temperature"] == 0.5
        assert asked["options"]["num_ctx"] == 8192

    async def test_followers_share_the_one_generation(self, at: Desk) -> None:
        asks = [f"a{number}" for number in range(20)]
        replies = await asyncio.gather(*(at.ask(ask) for ask in asks))
        told = [reply.payload["cache"] for reply in replies if reply is not None]
        assert told.count("miss") == 1
        assert set(told) <= {"miss", "shared"}  # who comes after the end tells of it again
        assert len(at.ollama.asked) == 1
        assert len({str(await at.final(ask)) for ask in asks}) == 1
        caches = [(await at.about(ask))["cache"] for ask in asks]
        assert caches.count("miss") == 1
        assert set(caches) <= {"miss", "shared", "hit"}

    async def test_who_asks_after_the_end_reads_it_and_tells_the_cache(self, at: Desk) -> None:
        first = await at.ask("a1")
        reply = await at.ask("a2")
        assert len(at.ollama.asked) == 1
        assert await at.final("a2") == await at.final("a1")
        assert first is not None
        assert reply is not None
        assert reply.payload == first.payload | {"cache": "shared"}

    async def test_who_wants_no_cache_shares_with_nobody(self, at: Desk) -> None:
        replies = await asyncio.gather(*(at.ask(ask, cache="off") for ask in ("a1", "a2")))
        assert len(at.ollama.asked) == 2
        for reply in replies:
            assert reply is not None
            assert not reply.payload["cacheable"]
            assert "fast_key" not in reply.payload

    async def test_another_scope_is_another_answer(self, at: Desk) -> None:
        one = await at.ask("a1")
        await at.opened("a2")
        other = found("a2", passage())
        data = other.payload
        data["request"]["groups"] = ["others"]
        reply = await at.deliver(events.new_event(other.type, "/knts/search", data, tenant="local", correlationid="a2"))
        assert one is not None
        assert reply is not None
        assert one.payload["key"] != reply.payload["key"]


class TestStrict:
    TOLD = ("The scene is in ", "Denmark. Falstaff drinks sack", " in Eastcheap. Bernardo keeps watch at Elsinore.")
    SUPPORTED = "The scene is in Denmark. Bernardo keeps watch at Elsinore."

    async def test_a_sentence_is_shown_when_a_passage_supports_it_and_left_out_when_none_does(self, at: Desk) -> None:
        at.ollama.scripts = [says(*self.TOLD)]
        reply = await at.ask(strict=True)
        final = await at.final()
        assert await at.text() == final["answer"] == self.SUPPORTED
        assert "reset" not in await at.types()
        assert [each["supported"] for each in final["sentences"]] == [True, True]
        assert final["withheld"] == 1
        assert reply is not None
        assert (reply.payload["withheld"], reply.payload["sentences"]) == (1, final["sentences"])

    async def test_nothing_that_is_held_back_reaches_a_reader(self, at: Desk) -> None:
        at.ollama.scripts = [[line("The scene is in Denmark. Falstaff drinks"), WAIT_FOREVER]]
        asking = asyncio.create_task(at.ask(strict=True))
        await until(at.text)
        assert await at.text() == "The scene is in Denmark."
        asking.cancel()
        await asyncio.wait([asking])

    async def test_an_answer_of_which_nothing_is_supported_abstains(self, at: Desk) -> None:
        at.ollama.scripts = [says("Falstaff drinks sack. He is in Eastcheap.")]
        await at.ask(strict=True)
        final = await at.final()
        assert (final["status"], final["answer"], final["withheld"]) == ("abstained", "", 2)
        assert final["passages"] == [passage()]
        assert "delta" not in await at.types()

    async def test_a_strict_answer_is_another_one_in_the_cache(self, at: Desk) -> None:
        at.ollama.scripts = [says(*self.TOLD)]
        await at.store(await at.ask("a1"))
        await at.store(await at.ask("a2", strict=True))
        await at.ask("a3", strict=True)
        answers_given = [(await at.final(ask))["answer"] for ask in ("a1", "a2", "a3")]
        assert answers_given == ["".join(self.TOLD), self.SUPPORTED, self.SUPPORTED]
        assert len(at.ollama.asked) == 2
        assert (await at.final("a3"))["withheld"] == 1


class TestCache:
    async def test_a_cached_answer_is_served_without_the_model(self, at: Desk) -> None:
        await at.store(await at.ask("a1"))
        reply = await at.ask("a2", question="where does HAMLET take place")
        assert len(at.ollama.asked) == 1
        assert await at.types("a2") == ["delta", "citation", "completed"]
        first, second = await at.final("a1"), await at.final("a2")
        assert second["answer"] == first["answer"] == await at.text("a2")
        assert second["citations"] == first["citations"]
        assert reply is not None
        assert (reply.payload["cache"], reply.payload["fast_key"]) == ("hit", reply.payload["fast_key"])
        about = await at.about("a2")
        assert (about["cache"], about["status"], about["ended_by"]) == ("hit", "ended", "completed")

    async def test_a_hit_that_is_delivered_again_changes_nothing(self, at: Desk) -> None:
        await at.store(await at.ask("a1"))
        first = await at.ask("a2")
        frames = await at.frames("a2")
        assert await at.deliver(found("a2", passage())) == first
        assert await at.frames("a2") == frames

    @pytest.mark.parametrize("mode", ["refresh", "off"])
    async def test_refresh_and_off_do_not_read_it(self, at: Desk, mode: str) -> None:
        await at.store(await at.ask("a1"))
        reply = await at.ask("a2", cache=mode)
        assert len(at.ollama.asked) == 2
        assert reply is not None
        assert reply.payload["cacheable"] == (mode == "refresh")

    async def test_changed_evidence_is_never_answered_from_it(self, at: Desk) -> None:
        await at.store(await at.ask("a1"))
        await at.index(version=2)
        await at.ask("a2", passage(version=2))
        assert len(at.ollama.asked) == 2
        assert (await at.final("a2"))["citations"][0]["version"] == 2

    async def test_an_event_that_comes_late_is_not_answered_from_it_either(self, at: Desk) -> None:
        await at.store(await at.ask("a1"))
        await at.index(version=2)
        reply = await at.ask("a2")  # its passages are of version 1
        assert reply is not None
        assert (reply.payload["stale"], reply.payload["cacheable"], reply.payload["cache"]) == (True, False, "miss")

    async def test_a_cache_that_is_away_is_a_miss(self, at: Desk, free_port: Any) -> None:
        async with connected(f"redis://127.0.0.1:{free_port()}") as nobody:
            object.__setattr__(at.tools, "cache", AnswerCache(nobody))
            await at.ask()
        assert (await at.final())["status"] == "completed"

    async def test_an_answer_may_be_served_from_it_while_ollama_is_away(self, at: Desk) -> None:
        await at.store(await at.ask("a1"))
        at.tools.models._models["small"] = (0.0, await at.tools.models.model())  # type: ignore[attr-defined]
        at.ollama.down = 503
        await at.ask("a2")
        assert (await at.about("a2"))["cache"] == "hit"


class TestAbstaining:
    @pytest.mark.parametrize(
        ("passages", "question", "reason"),
        [
            ([], QUESTION, "no document"),
            ([passage()], "Who invented penicillin?", "do not speak of"),
        ],
    )
    async def test_nothing_to_answer_from(self, at: Desk, passages: Any, question: str, reason: str) -> None:
        await at.opened("a1")
        event = found("a1", *passages, question=question)
        reply = await at.deliver(event)
        assert await at.types() == ["abstained"]
        final = await at.final()
        assert reason in final["reason"]
        assert final["passages"] == passages
        assert at.ollama.asked == []
        assert reply is not None
        assert (reply.payload["status"], reply.payload["cacheable"]) == ("abstained", True)
        assert await at.deliver(event) == reply
        assert await at.types() == ["abstained"]

    async def test_a_model_that_finds_nothing_abstains(self, at: Desk) -> None:
        at.ollama.scripts = [says("The documents do ", "not tell.")]
        reply = await at.ask()
        assert (await at.types())[-1] == "abstained"
        final = await at.final()
        assert final["answer"] == await at.text() == "The documents do not tell."
        assert final["citations"] == []
        assert reply is not None
        assert reply.payload["status"] == "abstained"


class TestRunningOn:
    """A model that does not stop by itself: what readers have is always the answer."""

    async def test_a_sentence_said_again_ends_the_call_and_completes_the_answer(self, at: Desk) -> None:
        at.ollama.scripts = [[*map(line, ["Hamlet takes place in Denmark. ", "Hamlet takes place in Denmark. "] * 3)]]
        at.ollama.scripts[0].append(WAIT_FOREVER)
        reply = await at.ask()
        await asyncio.wait_for(at.ollama.cut.wait(), 5)
        assert await at.types() == ["delta", "citation", "completed"]
        final = await at.final()
        assert final["answer"] == await at.text() == "Hamlet takes place in Denmark."
        assert final["usage"]["completion_tokens"] >= 2
        assert final["usage"]["prompt_tokens"] > 0
        assert reply is not None
        assert reply.payload["cacheable"] is True

    @pytest.mark.parametrize(
        ("pieces", "end", "types", "answer"),
        [
            (["It is in Denmark. The ca"], done("length"), ["delta", "reset", "delta"], "It is in Denmark."),
            (["The king, ", *["the king, "] * 9], done(), None, "The king"),
            (["Denmark.\n", "Question: Where", " else?"], done(), ["delta"], "Denmark."),
        ],
    )
    async def test_deltas_since_the_last_reset_are_the_answer(
        self, at: Desk, pieces: list[str], end: bytes, types: list[str] | None, answer: str
    ) -> None:
        at.ollama.scripts = [[*map(line, pieces), end]]
        await at.ask()
        final = await at.final()
        assert final["status"] == "completed"
        assert final["answer"] == await at.text() == answer
        told = [name for name in await at.types() if name in ("delta", "reset")]
        assert types is None or told == types

    async def test_an_answer_that_only_copies_the_prompt_is_none(self, at: Desk) -> None:
        at.ollama.scripts = [says("Hamlet:\n", "Question: Where?")]
        reply = await at.ask()
        assert await at.types() == ["abstained"]
        assert "nothing but" in (await at.final())["reason"]
        assert reply is not None
        assert reply.payload["status"] == "abstained"

    async def test_an_answer_that_no_passage_holds_says_so(self, at: Desk) -> None:
        at.ollama.scripts = [says("Falstaff drinks sack.")]
        reply = await at.ask()
        final = await at.final()
        assert (final["status"], final["citations"]) == ("completed", [])
        assert "no passage" in final["reason"]
        assert reply is not None
        assert reply.payload["reason"] == final["reason"]
        await at.store(reply)
        again = await at.ask("a2", question=QUESTION + "?")
        assert again is not None
        assert (await at.final("a2"))["reason"] == final["reason"]


class TestCurrency:
    async def test_what_changed_meanwhile_is_stale_and_not_cached(self, at: Desk) -> None:
        at.ollama.scripts = [[line("Hamlet takes place in Denmark."), 0.3, done()]]
        asking = asyncio.create_task(at.ask())
        await at.ollama.streaming.wait()
        await at.index(version=2)
        reply = await asking
        assert (await at.final())["stale"] is True
        assert reply is not None
        assert (reply.payload["stale"], reply.payload["cacheable"]) == (True, False)

    async def test_what_was_removed_meanwhile_is_withheld(self, at: Desk) -> None:
        at.ollama.scripts = [[line("Hamlet takes place in Denmark."), 0.3, done()]]
        asking = asyncio.create_task(at.ask())
        await at.ollama.streaming.wait()
        await at.index(version=2, status="removed")
        reply = await asking
        assert (await at.types())[-2:] == ["reset", "failed"]
        final = await at.final()
        assert "removed" in final["reason"]
        assert (final["answer"], final["citations"], final["passages"]) == ("", [], [])
        assert reply is not None
        assert reply.type == events.ANSWER_FAILED

    async def test_what_was_removed_before_is_not_shown_to_the_model(self, at: Desk) -> None:
        await at.index(version=2, status="removed")
        await at.ask()
        assert await at.types() == ["failed"]
        assert at.ollama.asked == []

    async def test_a_change_of_what_is_not_cited_does_no_harm(self, at: Desk) -> None:
        await at.index("macbeth")
        other = passage("macbeth", text="Macbeth is a thane of Scotland, and Hamlet is no thane.")
        at.ollama.scripts = [[line("Hamlet takes place in Denmark."), 0.3, done()]]
        asking = asyncio.create_task(at.ask("a1", passage(), other))
        await at.ollama.streaming.wait()
        await at.index("macbeth", version=2)
        await asking
        assert (await at.final())["stale"] is False


class TestFailing:
    @pytest.mark.parametrize(
        ("request_", "reason", "field"),
        [
            ({"model": "huge"}, "'huge' is unknown; there is small:latest", "model"),
            ({"model": "minilm"}, "'minilm' can't answer: it writes no text", "model"),
            ({"options": {"mirostat": 1}}, "'mirostat'", "options.mirostat"),
            ({"options": {"seed": "x"}}, "'seed' must be a number", "options.seed"),
        ],
    )
    async def test_a_request_that_cannot_be_met(
        self, at: Desk, request_: dict[str, Any], reason: str, field: str
    ) -> None:
        if request_.get("model") == "minilm":
            at.ollama.models["minilm:latest"], at.ollama.embedders = "d2", {"minilm:latest"}
        reply = await at.ask(**request_)
        assert await at.types() == ["failed"]
        final = await at.final()
        assert reason in final["reason"]
        assert (final["problem"]["status"], final["problem"]["errors"][0]["field"]) == (400, field)
        assert reply is not None
        assert reply.type == events.ANSWER_FAILED
        assert (await at.about("a1"))["ended_by"] == "failed"

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ([line("Hamlet"), b'{"error":"out of memory"}\n'], "out of memory"),
            ([line("Hamlet takes ")], "ended before it was done"),
            ([line("Hamlet"), WAIT_FOREVER], "too long for the next token"),
            ([WAIT_FOREVER], "too long for the first token"),
            ([done()], "wrote nothing"),
            ((400, "bad template"), "bad template"),
            ((404, "gone"), "unknown"),
        ],
    )
    async def test_an_answer_that_breaks_off_fails_for_everybody(self, at: Desk, script: Any, reason: str) -> None:
        at.ollama.scripts = [script]
        replies = await asyncio.gather(at.ask("a1"), at.ask("a2"))
        assert {reply.type for reply in replies if reply is not None} == {events.ANSWER_FAILED}
        for ask in ("a1", "a2"):
            assert (await at.types(ask))[-1] == "failed"
            final = await at.final(ask)
            assert reason in final["reason"]
            assert final["answer"] == await at.text(ask)

    async def test_a_default_model_that_is_unknown_is_no_mistake_of_the_asker(self, at: Desk) -> None:
        at.ollama.models = {"other:latest": "d2"}
        await at.ask()
        problem = (await at.final())["problem"]
        assert (problem["status"], "errors" in problem) == (502, False)
        assert "'small' is unknown; there is other:latest" in problem["detail"]

    @pytest.mark.parametrize("script", [(503, "busy"), (500, "model runner has unexpectedly stopped"), [b""]])
    async def test_what_has_not_begun_is_tried_again(self, at: Desk, script: Any) -> None:
        at.ollama.scripts = [script, says("In Denmark.")]
        await at.ask()
        assert len(at.ollama.asked) == 2
        assert (await at.final())["answer"] == "In Denmark."

    async def test_while_ollama_is_down_the_flight_stays_open_for_the_brokers_retry(self, at: Desk) -> None:
        at.ollama.scripts = [(503, "busy")]
        with pytest.raises(Temporary, match="busy"):
            await at.ask()
        assert len(at.ollama.asked) == 2
        assert await at.types() == []
        at.ollama.scripts = [says("In Denmark.")]
        assert await at.deliver(found("a1", passage())) is not None
        assert await at.types() == ["delta", "citation", "completed"]

    async def test_ollama_that_was_never_there_is_temporary(self, at: Desk) -> None:
        at.ollama.down = 503
        with pytest.raises(Temporary):
            await at.ask()
        assert await at.types() == []

    async def test_a_model_that_vanished_fails_the_flights_followers_too(self, at: Desk) -> None:
        at.ollama.scripts = [(503, "busy")]
        with pytest.raises(Temporary):
            await at.ask("a1")
        flight = (await at.about("a1"))["flight"]
        at.tools.models._models.clear()  # type: ignore[attr-defined]
        at.ollama.models = {}
        reply = await at.deliver(found("a1", passage()))
        assert reply is not None
        assert reply.type == events.ANSWER_FAILED
        assert (await at.tools.flights.final(flight) or {})["status"] == "failed"
        assert await at.types("a1") == ["failed"]


class TestRedelivery:
    async def test_a_lost_reply_is_given_again(self, at: Desk) -> None:
        first = await at.ask()
        frames = await at.frames()
        assert await at.deliver(found("a1", passage())) == first
        assert await at.frames() == frames
        assert len(at.ollama.asked) == 1

    async def test_a_lost_reply_of_a_failure_too(self, at: Desk) -> None:
        at.ollama.scripts = [[line("It is")]]
        first = await at.ask()
        assert await at.deliver(found("a1", passage())) == first
        assert len(at.ollama.asked) == 1

    async def test_a_second_delivery_waits_for_the_first_and_gives_its_reply(self, at: Desk) -> None:
        at.ollama.scripts = [[line("It is"), 0.4, done()]]
        asking = asyncio.create_task(at.ask())
        await at.ollama.streaming.wait()
        again = await at.deliver(found("a1", passage()))
        assert again == await asking is not None
        assert len(at.ollama.asked) == 1

    async def test_but_not_for_longer_than_a_lease(self, redis: Redis, redis_cache: Redis) -> None:
        async with desk(redis, redis_cache, lease_ms=600) as at:
            at.ollama.scripts = [[line("It is"), 2.0, done()]]
            asking = asyncio.create_task(at.ask())
            await at.ollama.streaming.wait()
            with pytest.raises(Temporary, match="still leads") as raised:
                await at.deliver(found("a1", passage()))
            assert raised.value.retry_after
            assert await asking is not None

    async def test_an_ask_that_expired_is_nobodys(self, at: Desk) -> None:
        assert await at.deliver(found("unknown", passage())) is None
        assert at.ollama.asked == []

    async def test_an_ask_that_ended_before_its_flight_starts_none(self, at: Desk) -> None:
        await at.opened("a1")
        await at.tools.asks.finish("a1", [], "cancelled", {"status": "cancelled"})
        assert await at.deliver(found("a1", passage())) is None
        assert at.ollama.asked == []

    async def test_a_flight_whose_stream_expired_fails_its_ask(self, at: Desk) -> None:
        at.ollama.scripts = [(503, "busy")]
        with pytest.raises(Temporary):
            await at.ask()
        await at.redis.delete(channel.flow_key((await at.about("a1"))["flight"]))
        assert await at.deliver(found("a1", passage())) is None
        about = await at.about("a1")
        assert about["ended_by"] == "failed"


class TestTakingOver:
    async def test_a_leader_that_is_stopped_hands_over_and_readers_begin_anew(self, at: Desk) -> None:
        at.ollama.scripts = [[line("It is"), WAIT_FOREVER], says("In Denmark.")]
        asking = asyncio.create_task(at.ask())
        await until(lambda: _streamed(at))
        asking.cancel()  # as uvicorn does when its grace is over
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(at.ollama.cut.wait(), 5)
        assert not at.tools.leading
        reply = await at.deliver(found("a1", passage()))
        assert reply is not None
        assert await at.types() == ["delta", "reset", "delta", "citation", "completed"]
        assert await at.text() == "In Denmark." == (await at.final())["answer"]

    async def test_a_leader_whose_lease_was_lost_stops_and_writes_nothing_more(self, at: Desk) -> None:
        at.ollama.scripts = [[line("It is"), WAIT_FOREVER], says("In Denmark.")]
        asking = asyncio.create_task(at.ask())
        await until(lambda: _streamed(at))
        await at.redis.delete(f"knts:lease:{(await at.about('a1'))['flight']}")
        with pytest.raises(Temporary, match="lease"):
            await asking
        await asyncio.wait_for(at.ollama.cut.wait(), 5)
        assert await at.ask("a2") is not None  # a new asker takes over
        again = await at.deliver(found("a1", passage()))  # the old leader's event
        assert again is not None
        assert again.payload["cache"] == "shared"
        assert await at.types("a1") == await at.types("a2") == ["delta", "reset", "delta", "citation", "completed"]

    async def test_a_model_that_continues_goes_on_where_the_old_leader_was(self, at: Desk) -> None:
        at.ollama.counts = " six"
        at.ollama.scripts = [[line("Hamlet takes pl"), WAIT_FOREVER], says(" place in", " Denmark.")]
        await stopped_in_the_middle(at)
        reply = await at.deliver(found("a1", passage()))
        assert "reset" not in await at.types()
        final = await at.final()
        assert await at.text() == "Hamlet takes place in Denmark." == final["answer"]
        # the last word may be half a one, so it is said again and not shown again
        assert at.ollama.asked[-1]["messages"][-1] == {"role": "assistant", "content": "Hamlet takes"}
        assert at.ollama.asked[-1]["options"]["num_predict"] < at.ollama.asked[0]["options"]["num_predict"]
        contexts = {options["num_ctx"] for options in (at.ollama.probe_options, at.ollama.asked[-1]["options"])}
        assert len(contexts) == 1  # for another one Ollama would load the model anew
        assert final["usage"]["completion_tokens"] > 3
        flow = await Channel(at.redis).frames(channel.flow_key((await at.about("a1"))["flight"]))
        assert final["first_token_at"] == int(flow[0].id.split("-")[0])
        assert reply is not None
        assert reply.payload["answer"] == final["answer"]

    async def test_words_that_do_not_follow_on_what_readers_have_begin_anew(self, at: Desk) -> None:
        at.ollama.counts = " six"
        at.ollama.scripts = [[line("It is in"), WAIT_FOREVER], says(" not in Norway.")]
        await stopped_in_the_middle(at)
        await at.deliver(found("a1", passage()))
        assert (await at.types())[:3] == ["delta", "reset", "delta"]
        assert await at.text() == "It is not in Norway." == (await at.final())["answer"]

    async def test_a_model_that_begins_again_with_the_same_words_costs_its_readers_nothing(self, at: Desk) -> None:
        at.ollama.scripts = [[line("Hamlet takes"), WAIT_FOREVER], says("Hamlet", " takes", " place in", " Denmark.")]
        await stopped_in_the_middle(at)
        await at.deliver(found("a1", passage()))
        assert at.ollama.asked[-1]["messages"] == at.ollama.asked[0]["messages"]
        assert "reset" not in await at.types()
        assert await at.text() == "Hamlet takes place in Denmark." == (await at.final())["answer"]

    async def test_an_answer_that_turns_out_shorter_is_what_readers_have_in_the_end(self, at: Desk) -> None:
        at.ollama.scripts = [[line("In Denmark. Or in"), WAIT_FOREVER], says("In Denmark.")]
        await stopped_in_the_middle(at)
        await at.deliver(found("a1", passage()))
        assert await at.types() == ["delta", "reset", "delta", "citation", "completed"]
        assert await at.text() == "In Denmark." == (await at.final())["answer"]

    async def test_it_is_probed_once(self, at: Desk) -> None:
        for digest, counts, continues in (("1", " six, seven", True), ("2", "Six", False), ("3", " seven", False)):
            at.ollama.counts = counts
            told = [await at.tools.continues(at.tools.models, "small", digest, 4096) for _ in range(3)]
            assert told == [continues] * 3
        assert at.ollama.probed == 3

    async def test_words_of_another_model_are_not_gone_on_with(self, at: Desk) -> None:
        at.ollama.scripts = [[line("Hamlet takes"), WAIT_FOREVER], says("In Denmark.")]
        await stopped_in_the_middle(at)
        flight = (await at.about("a1"))["flight"]
        await at.redis.hset(f"knts:flight-info:{flight}", "streamed", "another")
        await at.deliver(found("a1", passage()))
        assert at.ollama.probed == 0
        assert await at.types() == ["delta", "reset", "delta", "citation", "completed"]

    async def test_words_that_were_all_there_need_no_more(self, at: Desk) -> None:
        at.ollama.counts = " six"
        at.ollama.scripts = [[line("Hamlet takes place in Denmark."), WAIT_FOREVER], says(" Denmark.")]
        await stopped_in_the_middle(at)
        await at.deliver(found("a1", passage()))
        assert await at.types() == ["delta", "citation", "completed"]
        assert (await at.final())["answer"] == "Hamlet takes place in Denmark."

    async def test_what_breaks_off_while_it_is_said_again_leaves_readers_with_what_they_have(self, at: Desk) -> None:
        at.ollama.scripts = [[line("Hamlet takes place"), WAIT_FOREVER], [line("Hamlet")]]
        await stopped_in_the_middle(at)
        await at.deliver(found("a1", passage()))
        final = await at.final()
        assert (final["status"], final["answer"]) == ("failed", "Hamlet takes place")
        assert await at.text() == "Hamlet takes place"

    async def test_a_leader_that_dies_again_and_again_leaves_no_gap(self, at: Desk) -> None:
        words = ["It takes", " place", " now", " in"]
        at.ollama.counts = " six"
        said = ["", *(before.split()[-1] for before in words)]
        at.ollama.scripts = [
            [line(f" {again}{word}" if again else word), WAIT_FOREVER] for again, word in zip(said, words, strict=False)
        ]
        at.ollama.scripts.append(says(" in Denmark."))
        await stopped_in_the_middle(at)
        for number in range(2, 5):
            asking = asyncio.create_task(at.deliver(found("a1", passage())))
            await until(lambda number=number: _streamed(at, number))
            asking.cancel()
            await asyncio.wait([asking])
        await at.deliver(found("a1", passage()))
        assert await at.text() == "It takes place now in Denmark." == (await at.final())["answer"]
        assert "reset" not in await at.types()


async def stopped_in_the_middle(at: Desk) -> None:
    """An asker whose leader is stopped after its first words."""
    asking = asyncio.create_task(at.ask())
    await until(lambda: _streamed(at))
    asking.cancel()
    await asyncio.wait([asking])


REST = 1.5  # seconds: more than asking twice takes on a machine that is busy with much else


class TestFallingBack:
    @pytest.fixture
    async def spared(self, redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
        limits = OllamaLimits(first_token=1, idle=1, failures=2, rest=REST)
        async with desk(redis, redis_cache, limits=limits, tries=2, fallback="spare") as made:
            made.ollama.models["spare:latest"] = "d2"
            yield made

    @pytest.mark.parametrize("script", [[(503, "busy")] * 2, [[WAIT_FOREVER]]])
    async def test_where_the_default_model_cannot_begin_the_fallback_writes(self, spared: Desk, script: Any) -> None:
        spared.ollama.scripts = [*script, says("In Denmark.")]
        reply = await spared.ask()
        final = await spared.final()
        assert (final["status"], final["model"], final["answer"]) == ("completed", "spare", "In Denmark.")
        assert spared.ollama.asked[-1]["model"] == "spare"
        assert reply is not None
        assert "fast_key" not in reply.payload  # the default model's own answer is wanted again
        assert await spared.deliver(found("a1", passage())) == reply

    async def test_its_answer_is_kept_under_its_own_key(self, spared: Desk) -> None:
        spared.ollama.scripts = [(503, "busy"), (503, "busy"), says("In Denmark."), says("Hamlet is in Denmark.")]
        first = await spared.ask("a1")
        await spared.store(first)
        await asyncio.sleep(REST + 0.2)  # the default model is tried again
        second = await spared.ask("a2", cache="refresh")
        assert first is not None
        assert second is not None
        assert (first.payload["model"], second.payload["model"]) == ("spare", "small")
        assert first.payload["key"] != second.payload["key"]

    async def test_the_fast_path_does_not_find_it_when_it_comes_from_the_cache_either(self, spared: Desk) -> None:
        spared.ollama.refused["small"] = 404
        await spared.store(first := await spared.ask("a1"))
        hit = await spared.ask("a2")
        assert first is not None
        assert hit is not None
        assert (first.payload["model"], hit.payload["model"], hit.payload["cache"]) == ("spare", "spare", "hit")
        assert "fast_key" not in hit.payload

    async def test_a_model_that_keeps_failing_is_let_rest(self, spared: Desk) -> None:
        spared.ollama.scripts = [(503, "busy"), (503, "busy"), says("In Denmark.")]
        await spared.ask("a1")
        await spared.ask("a2", question="Where is Hamlet?")
        assert [asked["model"] for asked in spared.ollama.asked] == ["small", "small", "spare", "spare"]
        await asyncio.sleep(REST + 0.2)
        await spared.ask("a3", question="Where does Hamlet live?")
        assert spared.ollama.asked[-1]["model"] == "small"

    async def test_a_model_that_is_unknown_is_replaced(self, spared: Desk) -> None:
        del spared.ollama.models["small:latest"]
        await spared.ask()
        assert (await spared.final())["model"] == "spare"

    async def test_but_one_that_was_asked_for_by_name_is_not(self, spared: Desk) -> None:
        spared.ollama.scripts = [(503, "busy")]
        with pytest.raises(Temporary):
            await spared.ask(model="small")
        assert {asked["model"] for asked in spared.ollama.asked} == {"small"}

    async def test_what_has_begun_is_never_given_to_the_other(self, spared: Desk) -> None:
        spared.ollama.scripts = [[line("It is")], says("In Denmark.")]
        await spared.ask()
        final = await spared.final()
        assert (final["status"], final["model"], final["answer"]) == ("failed", "small", "It is")

    async def test_without_both_the_brokers_retry_goes_on(self, spared: Desk) -> None:
        spared.ollama.scripts = [(503, "busy")]
        with pytest.raises(Temporary):
            await spared.ask()
        await asyncio.sleep(REST + 0.2)
        spared.ollama.scripts = [says("In Denmark.")]
        assert await spared.deliver(found("a1", passage())) is not None


class TestCancelling:
    @pytest.mark.parametrize("script", [[WAIT_FOREVER], [line("It is"), WAIT_FOREVER]])
    async def test_when_the_last_asker_leaves_the_model_is_stopped(self, at: Desk, script: Any) -> None:
        at.ollama.scripts = [script]
        asking = asyncio.create_task(at.ask())
        await at.ollama.streaming.wait()
        await at.tools.flights.leave((await at.about("a1"))["flight"], "a1")
        reply = await asyncio.wait_for(asking, 5)
        await asyncio.wait_for(at.ollama.cut.wait(), 5)
        assert reply is not None
        assert reply.type == events.ANSWER_CANCELLED
        assert (await at.types())[-1] == "cancelled"

    async def test_a_listener_who_vanished_counts_as_gone_after_his_grace(
        self, redis: Redis, redis_cache: Redis
    ) -> None:
        async with desk(redis, redis_cache, listener_ms=1500) as at:
            at.ollama.scripts = [[line("It is"), WAIT_FOREVER]]
            asking = asyncio.create_task(at.ask())
            await at.ollama.streaming.wait()
            flight = (await at.about("a1"))["flight"]
            for _ in range(20):  # longer than the grace, but somebody tells of him
                await asyncio.sleep(0.1)
                await at.tools.flights.seen(flight, ["a1"])  # type: ignore[attr-defined]
            assert not asking.done()
            reply = await asyncio.wait_for(asking, 10)
            await asyncio.wait_for(at.ollama.cut.wait(), 5)
            assert reply is not None
            assert reply.type == events.ANSWER_CANCELLED

    async def test_while_somebody_waits_the_answer_goes_on(self, at: Desk) -> None:
        at.ollama.scripts = [[line("In "), 0.5, line("Denmark."), done()]]
        asking = asyncio.create_task(at.ask("a1"))
        await at.ollama.streaming.wait()
        await at.ask("a2")
        await at.tools.flights.leave((await at.about("a1"))["flight"], "a1")
        assert await asking is not None
        assert (await at.final("a2"))["answer"] == "In Denmark."

    async def test_in_the_queue(self, redis: Redis, redis_cache: Redis) -> None:
        async with desk(redis, redis_cache, slots=1) as at:
            at.ollama.scripts = [[line("It is"), WAIT_FOREVER]]
            asking = [asyncio.create_task(at.ask("a1"))]
            await at.ollama.streaming.wait()
            asking.append(asyncio.create_task(at.ask("a2", question="Where is Elsinore?")))
            await until(lambda: _flies(at, "a2"))
            await at.tools.flights.leave((await at.about("a2"))["flight"], "a2")
            reply = await asyncio.wait_for(asking[1], 5)
            assert reply is not None
            assert reply.type == events.ANSWER_CANCELLED
            assert len(at.ollama.asked) == 1
            await at.tools.flights.leave((await at.about("a1"))["flight"], "a1")
            await asyncio.wait_for(asking[0], 5)


async def test_a_models_slots_hold_over_all_deliveries(redis: Redis, redis_cache: Redis) -> None:
    async with desk(redis, redis_cache, slots=1) as at:
        at.ollama.scripts = [[line("In Denmark."), 0.3, done()]]
        await asyncio.gather(*(at.ask(f"a{number}", question=f"Where is Hamlet {number}?") for number in range(3)))
        queued = sorted([(await at.final(f"a{number}"))["queued_ms"] for number in range(3)])
        assert queued[0] < 250 < queued[1] < 550 < queued[2]


async def test_who_waits_for_a_slot_is_told_his_place(redis: Redis, redis_cache: Redis) -> None:
    async with desk(redis, redis_cache, slots=1) as at:
        at.ollama.scripts = [[line("In Denmark."), 0.3, done()]]
        asking = [asyncio.create_task(at.ask("a0"))]
        await at.ollama.streaming.wait()
        for ask, place in (("a1", 1), ("a2", 2)):  # of tickets that came at the same time, the name decides
            await at.opened(ask, line="knts:line:small:latest:", ticket=f"{'t' * 16}{ask}")
            event = found(ask, passage(), question=f"Where is Hamlet {ask}?")
            asking.append(asyncio.create_task(at.deliver(event)))
            await until(lambda ask=ask, place=place: _told(at, ask, place))
        await asyncio.gather(*asking)
        told = [data for name, data in await at.frames("a2") if name == "queued" and "position" in data]
        assert [data["position"] for data in told] == [2, 1]
        assert told[1]["expected_ms"] > 0
        assert (await at.types("a2"))[-1] == "completed"
        assert await redis.keys("knts:riders:*") == []


async def _told(at: Desk, ask_id: str, place: int) -> bool:
    frames = await at.frames(ask_id) if await at.about(ask_id) else []
    return {"position": place} in [data for _, data in frames]


async def _streamed(at: Desk, deltas: int = 1) -> bool:
    return (await at.types()).count("delta") >= deltas


async def _flies(at: Desk, ask_id: str) -> bool:
    return "flight" in await at.about(ask_id)
