"""A prompt fits into the model's context: by what it has at most, by what calls taught, or with less if refused."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions.llm_answer.prompt import TEMPLATE, Budget, compose
from knts.clients.ollama import Done, Ollama, PromptTooLong
from knts.clients.redis import Redis
from knts.settings import OllamaServer
from tests.answering import QUESTION, TEXT, Desk, desk, passage
from tests.scripted_ollama import done, line, says

CONTEXT, ANSWER = 1024, 64
LONG = passage(text=TEXT + " Nobody else is awake at that hour." * 90)
TOO_LONG = (400, "the input length exceeds the context length")


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache, context=CONTEXT, prompt=900, answer=ANSWER, tries=1) as made:
        made.ollama.version = "0.17.4"
        yield made


def read(asked: dict[str, Any]) -> int:
    """How many tokens a prompt has at most."""
    return sum(len(message["content"].encode()) for message in asked["messages"])


async def test_before_anything_was_learned_a_prompt_fits_whatever_a_token_is(at: Desk) -> None:
    await at.ask("a1", LONG)
    [asked] = at.ollama.asked
    assert 0.8 * CONTEXT < read(asked) + TEMPLATE + ANSWER <= CONTEXT


async def test_what_a_call_taught_lets_the_next_prompt_be_longer(at: Desk) -> None:
    at.ollama.scripts = [[line("In Denmark."), done(prompt=230)], says("In Denmark.")]
    await at.ask("a1", LONG)
    await at.ask("a2", LONG, cache="refresh")
    first, second = at.ollama.asked
    assert read(second) > 2 * read(first)
    assert QUESTION in second["messages"][-1]["content"]


async def test_but_not_on_a_server_that_may_cut_a_prompt_without_a_word(at: Desk) -> None:
    at.ollama.version = "0.11.0"
    at.ollama.scripts = [[line("In Denmark."), done(prompt=230)], says("In Denmark.")]
    await at.ask("a1", LONG)
    await at.ask("a2", LONG, cache="off")
    assert max(map(read, at.ollama.asked)) + TEMPLATE + ANSWER <= CONTEXT


async def test_a_prompt_that_turns_out_too_long_is_asked_again_with_less_and_that_is_learned(at: Desk) -> None:
    at.tools.learned.learn("d1", 1000, 500)
    at.ollama.scripts = [TOO_LONG, says("Hamlet takes place in Denmark.")]
    await at.ask("a1", LONG)
    first, second = at.ollama.asked
    assert read(second) + TEMPLATE + ANSWER <= CONTEXT < read(first)
    final = await at.final("a1")
    assert (final["status"], final["passages"], len(final["citations"])) == ("completed", [LONG], 1)
    assert (at.tools.learned.factor("d1") or 0) > 0.5


async def test_one_that_is_too_long_even_so_has_failed_and_says_why(at: Desk) -> None:
    at.ollama.scripts = [TOO_LONG]
    await at.ask("a1", LONG)
    final = await at.final("a1")
    assert final["status"] == "failed"
    assert "too long" in final["reason"]
    assert len(at.ollama.asked) == 1


DENSE = ("7204913586" * 90, "鯤鵬麒麟饕餮魍魎。" * 60, "a[i]+=x<<3|~y&0xFF;\n" * 60)


async def test_the_packaged_model_has_room_for_any_text_by_its_own_count(ollama_server: OllamaServer) -> None:
    budget = Budget(context=576, passages=500, answer=8)
    async with Ollama(ollama_server) as ollama:
        model = await ollama.model()
        assert model.refuses
        for text in DENSE:
            made = compose("What is it?", [passage(text=text)], {}, budget.context, budget)
            [*_, end] = [each async for each in ollama.chat(model.name, made.messages, made.options)]
            assert isinstance(end, Done)
            assert end.prompt_tokens + budget.answer <= budget.context


async def test_the_packaged_model_refuses_what_does_not_fit(ollama_server: OllamaServer) -> None:
    long = [{"role": "user", "content": DENSE[0] * 10}]
    async with Ollama(ollama_server) as ollama:
        with pytest.raises(PromptTooLong):
            [each async for each in ollama.chat(ollama_server.model, long, {"num_predict": 1})]
