"""The operator's side of the dead-letter function, served, on a real Valkey."""

import base64
from itertools import chain
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from knts import events
from knts.clients.dead_letters import DeadLetters
from knts.clients.redis import Redis
from tests.conftest import ServeFunction

KEY = {"authorization": "Bearer the-key"}


@pytest_asyncio.fixture
async def url(serve_function: ServeFunction, redis_url: str) -> str:
    return await serve_function("dead-letter", {"REDIS_URL": redis_url, "KNTS_OPERATOR_KEY": "old-key,the-key"})


async def call(method: str, url: str, headers: dict[str, str] | None = None, **query: str) -> tuple[int, Any]:
    sent = KEY if headers is None else headers
    async with aiohttp.ClientSession() as http, http.request(method, url, headers=sent, params=query) as response:
        body = await response.read()
        return response.status, await response.json(content_type=None) if body else None


async def stored(redis: Redis, number: int, trigger: str = "default/a", **attributes: str) -> str:
    named = {"tenant": "local", "kntserrortrigger": trigger, "knativeerrorcode": "422", **attributes}
    event = events.new_event("knts.test", "/test", {"n": number}, id=str(number), **named)
    return (await DeadLetters(redis).store(event))[0]


async def listed(url: str, **query: str) -> list[list[str]]:
    """The ids of each page until the end."""
    pages, after = [], ""
    while True:
        status, page = await call("GET", f"{url}/letters", **query, **({"after": after} if after else {}))
        assert status == 200
        pages.append([letter["id"] for letter in page["letters"]])
        if (after := page["next"]) is None:
            return pages


async def test_letters_are_listed_page_by_page_and_by_filter(url: str, redis: Redis) -> None:
    ids = [await stored(redis, number, f"default/{'ab'[number % 2]}") for number in range(10)]
    every = [letter.id for letter in (await DeadLetters(redis).listing())[0]]
    assert sorted(every) == sorted(ids)
    pages = await listed(url, limit="3")
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert list(chain(*pages)) == every
    filtered = await listed(url, limit="2", trigger="b")
    assert list(chain(*filtered)) == [letter_id for letter_id in every if letter_id in ids[1::2]]
    assert await listed(url, tenant="other") == [[]]


async def test_a_rare_letter_is_found_far_back(url: str, redis: Redis) -> None:
    for number in range(25):
        await stored(redis, number)
    rare = await stored(redis, 99, tenant="rare")
    pages = await listed(url, limit="1", tenant="rare")
    assert list(chain(*pages)) == [rare]
    assert len(pages) > 1


async def test_a_letter_is_read_and_dropped_once(url: str, redis: Redis) -> None:
    letter_id = await stored(redis, 7)
    status, letter = await call("GET", f"{url}/letters/{letter_id}")
    assert (status, letter["trigger"], letter["code"]) == (200, "default/a", 422)
    assert base64.b64decode(letter["data_base64"]) == b'{"n":7}'
    assert (await call("DELETE", f"{url}/letters/{letter_id}", times="2"))[0] == 409
    assert (await call("DELETE", f"{url}/letters/{letter_id}", times="1"))[0] == 204
    assert (await call("DELETE", f"{url}/letters/{letter_id}", times="1"))[0] == 404
    assert (await call("GET", f"{url}/letters/{letter_id}"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", "/letters", {"limit": "x"}, 400),
        ("GET", "/letters", {"after": "x"}, 400),
        ("DELETE", "/letters/x", {"times": "-1"}, 400),
        ("POST", "/letters/x", {}, 405),
        ("DELETE", "/letters", {}, 404),
        ("GET", "/letters/", {}, 404),
        ("GET", "/", {}, 405),
        ("GET", "/elsewhere", {}, 404),
        ("POST", "/elsewhere", {}, 404),
    ],
)
async def test_what_is_not_understood_is_refused(
    url: str, method: str, path: str, query: dict[str, str], status: int
) -> None:
    found, problem = await call(method, url + path, **query)
    assert (found, problem["status"]) == (status, status)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer other"}, {"authorization": "Basic the-key"}, {"authorization": "Bearer "}]
)
async def test_without_a_key_nothing_is_told_or_dropped(url: str, redis: Redis, headers: dict[str, str]) -> None:
    letter_id = await stored(redis, 1)
    for method, path in (("GET", "/letters"), ("GET", f"/letters/{letter_id}"), ("DELETE", f"/letters/{letter_id}")):
        assert (await call(method, url + path, headers))[0] == 401
    assert await DeadLetters(redis).get(letter_id) is not None


async def test_where_no_key_is_set_nobody_is_let_in(serve_function: ServeFunction, redis_url: str) -> None:
    closed = await serve_function("dead-letter", {"REDIS_URL": redis_url})
    assert (await call("GET", f"{closed}/letters", {"authorization": "Bearer "}))[0] == 403


async def test_letters_are_counted(url: str) -> None:
    event = events.new_event(events.ANSWER_REQUESTED, "/test", {}, knativeerrorcode="503")
    headers, body = events.to_http(event)
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            async with http.post(url, data=body, headers=headers) as response:
                assert response.status == 202
        async with http.get(f"{url}/metrics") as response:
            text = await response.text()
    kind = f'code="5xx",new="%s",type="{events.ANSWER_REQUESTED}"'
    for new in ("true", "false"):
        assert f"knts_dead_letters_total{{{kind % new}}} 1.0" in text
