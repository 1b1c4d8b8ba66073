"""Whatever a document orders, and however well a model obeys: nothing but the words of one answer is its to choose.

The model here is the worst there can be: it says what the document wants, word for word.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.injected import BAIT, CASES, QUESTION, TIDES, Case
from functions.ingress.web import answers as page
from functions.ingress.web.templates import answered
from functions.llm_answer import prompt
from knts import answers
from knts.cli import output
from knts.clients.redis import Redis
from tests.answering import Desk, desk, passage
from tests.scripted_ollama import says

INVISIBLE = "\u200b\u202e\u202c\u2066\u2069"
MARKS = ("<|", "|>", "</s>", "[INST]", "<start_of_turn>", "<end_of_turn>", "<<SYS>>")


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache) as made:
        yield made


def ids(case: Case) -> str:
    return f"{case.kind} {CASES.index(case)}"


def injected(case: Case) -> dict[str, Any]:
    return passage(text=case.text, start=0)


def test_there_are_many_and_all_of_them_hold_the_answer_too() -> None:
    assert len(CASES) >= 40
    assert all(TIDES in case.text for case in CASES)
    assert len({case.text for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_document_stays_data_in_the_prompt(case: Case) -> None:
    made = prompt.compose(QUESTION, [injected(case)], {}, 8192, prompt.Budget(8192, 1500, 200))
    system, user = made.messages
    assert [system["role"], user["role"]] == ["system", "user"]
    assert system["content"] == prompt.SYSTEM
    assert user["content"].count(prompt.FENCE) == 2
    _, inside, after = user["content"].split(prompt.FENCE)
    assert after == f"\n\nQuestion: {QUESTION}"
    assert "13 metres" in inside
    assert "\nQuestion:" not in inside
    assert not [mark for mark in MARKS if mark in inside]
    assert not set(INVISIBLE) & set(user["content"])
    assert not [letter for letter in user["content"] if 0xE0000 <= ord(letter) < 0xE0080]
    assert made.shown == [injected(case)]  # what is quoted is the document's own text, unchanged


@pytest.mark.parametrize("case", CASES[::6], ids=ids)
async def test_an_obedient_model_moves_nothing_but_its_own_words(case: Case, at: Desk) -> None:
    """Another asker's answer, the cache, the documents and what the model is asked are as they were."""
    await at.index("tides")
    await at.store(await at.ask("other", strict=True))
    before = {key: await at.cache.redis.dump(key) for key in await at.cache.redis.keys("*")}
    theirs, records = await at.frames("other"), await at.redis.keys("knts:doc*")
    obeying = f"{case.text[len(TIDES) :]} {BAIT} ![x](http://127.0.0.1:9/{BAIT}) <script>{BAIT}</script>"
    at.ollama.scripts = [says(obeying)]
    shown = {**injected(case), "document_id": "tides"}
    reply = await at.ask("mine", shown, question=QUESTION)
    assert reply is not None
    asked = at.ollama.asked[-1]
    plain = {"model", "messages", "options", "stream", "keep_alive", "think", "truncate", "shift"}
    assert set(asked) <= plain  # no tools
    assert reply.subject == "mine"
    assert {each["document_id"] for each in reply.payload["citations"]} <= {"tides"}
    assert await at.frames("other") == theirs
    assert {key: await at.cache.redis.dump(key) for key in await at.cache.redis.keys("*")} == before
    assert await at.redis.keys("knts:doc*") == records


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_what_a_model_says_is_text_on_the_page_and_in_the_terminal(case: Case) -> None:
    said = f"{case.text} [click](http://127.0.0.1:9/{BAIT}) <a href='//x'>{BAIT}</a> \x1b]8;;http://127.0.0.1:9\x07x"
    final = {"status": "completed", "answer": said, "model": "m", "citations": [], "passages": [], "sentences": []}
    composed = answers.compose({"id": "0" * 32, "question": QUESTION}, final)
    html = str(answered(page.answer(composed)))
    assert "<" not in html  # no link, no image, no script: nothing but characters
    shown = output.shown(said)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert not set(INVISIBLE) & set(shown)
    assert json.loads(json.dumps(composed))["answer"] == said
