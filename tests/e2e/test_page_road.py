"""The page over the whole road: real search, broker, functions and model behind it, a real Chromium before it."""

import hashlib
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.browser import chromium, complaints
from tests.e2e.roads import Road

QUESTION = "What does the development broker answer when its queue is full?"
FINISHED = "#answer .answer:not(.running)"


@pytest_asyncio.fixture
async def page(road: Road) -> AsyncIterator[Page]:
    """The start page; at the end the browser must have had nothing to complain of."""
    async with chromium() as browser:
        page = await browser.new_page()
        heard = complaints(page)
        await page.goto(road.base_url)
        yield page
        assert heard == []


async def ask(page: Page, question: str) -> str:
    """Ask by keyboard and wait for the end; how it ended."""
    await page.fill("#q", question)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f"{FINISHED} >> text={question}", timeout=90_000)
    classes = await page.locator(FINISHED).get_attribute("class") or ""
    return classes.removeprefix("answer ")


async def test_typing_finds_passages_of_loaded_documents(page: Page) -> None:
    await page.locator("#q").press_sequentially("dead letter", delay=20)

    await expect(page.locator(".hit mark").first).to_have_text(re.compile("dead|letter", re.IGNORECASE))
    await expect(page.locator("#found")).to_contain_text(re.compile(r"\d+ passages? in"))
    await page.locator(".hit h3 a").first.click()
    await expect(page.locator("#passage")).to_be_visible()


async def test_an_answer_comes_with_its_sources_and_again_from_the_cache(
    page: Page, api: aiohttp.ClientSession, road: Road
) -> None:
    ended = await ask(page, QUESTION)
    answer_id = re.search("answer=([0-9a-f]{32})", page.url)
    assert answer_id
    async with api.get(f"/v1/answers/{answer_id[1]}") as response:
        final = await response.json()

    assert ended == final["status"]
    assert ended in ("completed", "abstained")  # the packaged model is small
    shown = re.sub(r"\[\d+\]$|(?<=\w)\[\d+\]", "", await page.locator("#answer").inner_text())
    assert " ".join(final["answer"].split()[:5]) in " ".join(shown.split())
    for number, citation in enumerate(final["citations"], 1):
        quote = await page.locator(f"#citation-{number} mark").text_content() or ""
        assert hashlib.sha256(quote.encode()).hexdigest() == citation["sha256"]

    await page.reload()
    await expect(page.locator(FINISHED)).to_contain_text(QUESTION)
    if ended == "completed":
        await page.goto(road.base_url)
        assert await ask(page, QUESTION) == "completed"
        await expect(page.locator("#answer .badge")).to_have_text("from the cache")


async def test_stopping_ends_the_model_too(page: Page, api: aiohttp.ClientSession) -> None:
    await page.fill("#q", "Which extension attributes do events have, and what is each of them for?")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#answer .running")
    await page.get_by_role("button", name="Stop").click(timeout=5000)

    await page.wait_for_selector("#answer .cancelled", timeout=20_000)
    answer_id = re.search("answer=([0-9a-f]{32})", page.url)
    assert answer_id
    async with api.get(f"/v1/answers/{answer_id[1]}") as response:
        assert (await response.json())["status"] == "cancelled"


async def test_a_reload_finds_the_running_answer_again(page: Page, api: aiohttp.ClientSession) -> None:
    question = "Which fields does the data of a document event have, and which of them are optional?"
    await page.fill("#q", question)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#answer .running")
    await page.wait_for_url(re.compile("answer=[0-9a-f]{32}"))
    named = re.search("answer=([0-9a-f]{32})", page.url)
    assert named
    async with api.get(f"/v1/answers/{named[1]}") as response:
        assert response.status in (200, 202)  # it is being made, where the model is not faster than this

    await page.reload()

    await page.wait_for_selector(f"{FINISHED} >> text={question}", timeout=90_000)
    assert f"answer={named[1]}" in page.url
    async with api.get(f"/v1/answers/{named[1]}") as response:
        final = await response.json()
    assert final["status"] in ("completed", "abstained")  # the packaged model is small
    shown = re.sub(r"\[\d+\]", "", await page.locator("#answer").inner_text())
    assert " ".join(final["answer"].split()[:5]) in " ".join(shown.split())
