"""The page in a real Chromium, over a scripted ingress: what a person sees, types and hears of it."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request

from functions.ingress.access import Principal
from functions.ingress.gate import AccessSettings, Gate
from functions.ingress.web.page import PrincipalOf, routes
from knts.channel import Position
from knts.errors import Busy, Temporary
from tests.e2e.accessibility import CHECKS
from tests.e2e.browser import chromium, complaints
from tests.e2e.page_ingress import LOCAL, ScriptedIngress, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Visit:
    """One person at the page: the ingress behind it, the browser's page, and what the browser complained of."""

    ingress: ScriptedIngress
    page: Page
    heard: list[str]
    address: str

    async def ask(self, question: str) -> str:
        """Type a question and press Enter; the answer's id once the page follows it."""
        await self.page.fill("#q", question)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_selector("#answer .running")
        await eventually(lambda: bool(self.ingress.connections))
        return list(self.ingress.asks)[-1]


async def eventually(held: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not held():  # noqa: ASYNC110 - what the server does tells no event
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def served(
    ingress: ScriptedIngress, principal_of: PrincipalOf = lambda _: LOCAL, port: int = 0
) -> AsyncIterator[str]:
    """The page's address while a real server serves it; leaving cuts every connection."""
    app = Starlette(routes=routes(ingress, principal_of, heartbeat=1.0))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@contextlib.asynccontextmanager
async def visiting(browser: Browser, ingress: ScriptedIngress, **settings: object) -> AsyncIterator[Visit]:
    async with served(ingress) as address:
        context: BrowserContext = await browser.new_context(**settings)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        page = await context.new_page()
        heard = complaints(page)
        try:
            yield Visit(ingress, page, heard, address)
        finally:
            await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """A person on the start page; at the end the browser must have had nothing to complain of."""
    async with visiting(browser, ScriptedIngress()) as one:
        await one.page.goto(one.address)
        yield one
        assert one.heard == []


async def test_hits_appear_while_typing_and_the_address_keeps_them(visit: Visit) -> None:
    await visit.page.locator("#q").press_sequentially("slings", delay=15)

    await expect(visit.page.locator(".hit mark").first).to_have_text("slings")
    await expect(visit.page).to_have_url(re.compile(r"/\?q=slings$"))
    await expect(visit.page.locator("#announce-hits")).to_have_text("1 passage in 2 ms")
    await visit.page.reload()
    await expect(visit.page.locator(".hit mark").first).to_have_text("slings")
    assert len(visit.ingress.searches) < 10  # not one search a letter, each with its facets


async def test_facets_narrow_and_chips_take_it_back(visit: Visit) -> None:
    await visit.page.fill("#q", "to")
    await expect(visit.page.locator("#found")).to_contain_text("passages in")
    before = await visit.page.locator(".hit").count()

    await visit.page.get_by_role("link", name="Macbeth").first.click()
    await expect(visit.page.locator(".chips li")).to_have_text(re.compile("Play: Macbeth"))
    assert await visit.page.locator(".hit").count() < before
    await expect(visit.page).to_have_url(re.compile("filter.play=Macbeth"))
    focused = await visit.page.evaluate("document.activeElement.textContent")
    assert "Macbeth" in focused  # the keyboard stays where it was

    await visit.page.get_by_role("link", name="Remove the filter Play: Macbeth").click()
    await expect(visit.page.locator(".hit")).to_have_count(before)


async def test_more_hits_come_below(visit: Visit) -> None:
    await visit.page.fill("#q", "e")
    await expect(visit.page.locator(".hit")).to_have_count(10)

    await visit.page.get_by_role("link", name="More results").click()

    await expect(visit.page.locator(".hit")).to_have_count(12)


async def test_an_answer_streams_in_and_ends_with_citations_that_open(visit: Visit) -> None:
    ask_id = await visit.ask("What does Hamlet ask?")
    await expect(visit.page.locator("#progress")).to_have_text("Searching the documents …")
    await visit.ingress.say(ask_id, "passages", {"passages": []})
    await expect(visit.page.locator("#progress")).to_have_text("Reading 0 passages …")
    for token in (" <b>Two", "  words", "\n\n", "and 🎭 &amp;"):
        await visit.ingress.say(ask_id, "delta", {"text": token})
    await expect(visit.page.locator("#progress")).to_have_text("Writing …")
    await eventually_text(visit.page, "#text", " <b>Two  words\n\nand 🎭 &amp;")
    await visit.ingress.say(ask_id, "reset", {})
    await eventually_text(visit.page, "#text", "")

    final = await tell(visit.ingress, ask_id)

    await visit.page.wait_for_selector("#answer .completed")
    words = await visit.page.locator("#answer .words").inner_text()
    assert re.sub(r"\[\d\]", "", words) == final["answer"] + " unsupported"
    await visit.page.get_by_role("button", name="Source 2").click()
    passage = visit.page.get_by_role("dialog")
    await expect(passage.locator("mark")).to_have_text("slings and arrows of outrageous fortune")
    await visit.page.keyboard.press("Escape")
    await expect(passage).to_be_hidden()
    await expect(visit.page.locator("#announce")).to_contain_text(
        "The answer, with 2 sources, and 1 sentence that no passage supports: Hamlet asks"
    )
    assert len(visit.ingress.connections) == 1


async def eventually_text(page: Page, selector: str, wanted: str) -> None:
    """Wait until an element's text is that, to the character."""
    same = "([selector, wanted]) => document.querySelector(selector).textContent === wanted"
    await page.wait_for_function(same, arg=[selector, wanted])


async def test_stop_ends_the_answer(visit: Visit) -> None:
    ask_id = await visit.ask("Why?")
    await visit.ingress.say(ask_id, "delta", {"text": "Because"})
    await expect(visit.page.locator("#text")).to_have_text("Because")

    await visit.page.get_by_role("button", name="Stop").click()

    await visit.page.wait_for_selector("#answer .cancelled")
    await expect(visit.page.locator("#answer")).to_contain_text("Stopped.")
    await expect(visit.page.locator("#answer .faded")).to_have_text("Because")
    assert visit.ingress.asks[ask_id].final


async def test_a_follow_up_goes_on_in_the_conversation_and_a_new_one_begins_at_the_start(visit: Visit) -> None:
    first = await visit.ask("To be?")
    await tell(visit.ingress, first)
    await visit.page.wait_for_selector("#answer .completed")

    await visit.page.get_by_label("Follow-up question").fill("Who said it?")
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_selector("#answer .running")
    await expect(visit.page.get_by_role("heading", name="Who said it?")).to_be_focused()
    second = list(visit.ingress.asks)[-1]
    assert visit.ingress.asks[second].request["question"] == "Who said it?"
    own = visit.ingress.asks[first].request["conversation_id"]
    assert visit.ingress.asks[second].request["conversation_id"] == own
    await eventually(lambda: len(visit.ingress.connections) == 2)
    await tell(visit.ingress, second)
    await visit.page.wait_for_selector("#answer .completed")
    await expect(visit.page.get_by_role("heading", name="Who said it?")).to_be_focused()
    await expect(visit.page.locator("#q")).to_have_value("To be?")
    await expect(visit.page).to_have_url(re.compile(f"answer={second}&conversation={own}"))

    await visit.page.reload()
    others = visit.page.get_by_role("navigation", name="Other questions of this conversation")
    await expect(others.get_by_role("link")).to_have_text(["To be?"])
    await visit.page.get_by_label("Follow-up question").fill("And when?")
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.get_by_role("heading", name="And when?")).to_be_visible()
    third = list(visit.ingress.asks)[-1]
    assert visit.ingress.asks[third].request["conversation_id"] == own
    await expect(others.get_by_role("link")).to_have_text(["To be?", "Who said it?"])

    await others.get_by_role("link", name="To be?").click()
    await expect(visit.page.get_by_role("heading", name="To be?")).to_be_visible()
    await expect(others.get_by_role("link")).to_have_text(["Who said it?", "And when?"])
    await visit.page.fill("#q", "slings")
    await expect(visit.page.locator(".hit mark").first).to_have_text("slings")
    await expect(visit.page).to_have_url(re.compile(f"q=slings.*answer={first}&conversation={own}"))

    await visit.page.get_by_role("link", name="New conversation").click()
    await expect(visit.page.locator("#answer .answer")).to_have_count(0)
    await expect(visit.page.locator("#q")).to_be_focused()


async def test_a_reload_finds_the_running_answer_and_the_finished_one(visit: Visit) -> None:
    ask_id = await visit.ask("Why?")
    await visit.ingress.say(ask_id, "delta", {"text": "Be"})
    await expect(visit.page).to_have_url(re.compile(f"answer={ask_id}"))
    await visit.page.reload()
    await visit.ingress.say(ask_id, "delta", {"text": "cause"})
    await expect(visit.page.locator("#text")).to_have_text("Because")

    await tell(visit.ingress, ask_id)
    await visit.page.wait_for_selector("#answer .completed")
    await visit.page.reload()

    await expect(visit.page.locator("#answer .cite")).to_have_count(2)


async def test_a_stream_that_breaks_is_taken_up_without_gap_or_repetition(browser: Browser) -> None:
    class BreakingIngress(ScriptedIngress):
        """Breaks every connection after its third frame."""

        async def follow(self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None):  # type: ignore[no-untyped-def,override]
            sent = 0
            async for event in super().follow(who, ask_id, after, heartbeat=heartbeat):
                yield event
                sent += event[1] == "delta"
                if sent == 3:
                    raise Temporary("cut")

    async with visiting(browser, BreakingIngress()) as visit:
        await visit.page.goto(visit.address)
        ask_id = await visit.ask("Count")
        for number in range(8):
            await visit.ingress.say(ask_id, "delta", {"text": f"{number} "})

        await eventually_text(visit.page, "#text", "0 1 2 3 4 5 6 7 ")
        assert [int(after.ask) for after in visit.ingress.connections] == [0, 4, 7]


async def test_a_server_that_restarts_loses_and_doubles_nothing(browser: Browser) -> None:
    ingress = ScriptedIngress()
    refusals: list[str] = []

    def warming_up(request: Request) -> Principal:
        if request.url.path.endswith("/events") and len(refusals) < 2:
            refusals.append(request.url.path)
            raise Temporary("warming up")
        return LOCAL

    context = await browser.new_context()
    page = await context.new_page()
    async with served(ingress) as address:
        await page.goto(address)
        await page.fill("#q", "Count")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#answer .running")
        ask_id = next(iter(ingress.asks))
        await ingress.say(ask_id, "delta", {"text": "one "})
        await eventually_text(page, "#text", "one ")
    await expect(page.locator("#lost")).to_contain_text("The connection was lost")
    await ingress.say(ask_id, "delta", {"text": "two "})
    async with served(ingress, warming_up, int(address.rsplit(":", 1)[1])):
        await ingress.say(ask_id, "delta", {"text": "three"})
        await eventually_text(page, "#text", "one two three")
        await expect(page.locator("#lost")).to_be_hidden()
        assert len(refusals) == 2
        await tell(ingress, ask_id)
        await page.wait_for_selector("#answer .completed .cite")
        await context.close()


async def test_a_key_is_asked_for_and_carries_search_answer_and_stop(browser: Browser, tmp_path: Path) -> None:
    key = 'a key; with blanks, "quotes" & signs='
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": "t", "groups": ["g"]}]))
    ingress, gate = ScriptedIngress(), Gate(AccessSettings(keys_file=keys))
    context = await browser.new_context()
    page = await context.new_page()
    async with served(ingress, gate.principal) as address:
        await page.goto(f"{address}/?q=rotten")
        await page.fill("#key", "wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("That key is not known here.")
        await page.fill("#key", key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".hit mark")).to_have_text("rotten")
        assert "knts_key" not in await page.evaluate("document.cookie")

        await page.fill("#q", "Why?")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#answer .running")
        await page.get_by_role("button", name="Stop").click()
        await page.wait_for_selector("#answer .cancelled")
        assert {asked.owner.tenant for asked in ingress.asks.values()} == {"t"}

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("#key")).to_be_visible()
        await context.close()


async def test_offline_says_so_and_the_rest_comes_when_back(browser: Browser) -> None:
    async with visiting(browser, ScriptedIngress()) as visit:
        await visit.page.goto(visit.address)
        ask_id = await visit.ask("Count")
        await visit.ingress.say(ask_id, "delta", {"text": "one "})
        await eventually_text(visit.page, "#text", "one ")

        await visit.page.context.set_offline(True)
        await expect(visit.page.locator("#lost")).to_contain_text("You are offline")
        await visit.ingress.say(ask_id, "delta", {"text": "two "})
        await asyncio.sleep(0.3)
        await visit.page.context.set_offline(False)
        await visit.ingress.say(ask_id, "delta", {"text": "three"})

        await eventually_text(visit.page, "#text", "one two three")
        await expect(visit.page.locator("#lost")).to_be_hidden()


async def test_a_search_that_fails_is_said_in_its_place_and_typing_on_mends_it(browser: Browser) -> None:
    async with visiting(browser, ScriptedIngress()) as visit:
        await visit.page.goto(visit.address)
        visit.ingress.failure = Temporary("Typesense does not answer")
        await visit.page.fill("#q", "to")
        await expect(visit.page.locator("#results")).to_contain_text("Typesense does not answer")

        visit.ingress.failure = None
        await visit.page.fill("#q", "to be")

        await expect(visit.page.locator(".hit").first).to_be_visible()


async def test_the_place_in_the_queue_is_told_and_a_full_one_too(browser: Browser) -> None:
    async with visiting(browser, ScriptedIngress()) as visit:
        await visit.page.goto(visit.address)
        ask_id = await visit.ask("Who waits?")
        progress = visit.page.locator("#progress")
        await visit.ingress.say(ask_id, "passages", {"passages": []})
        for position, expected_ms in ((3, 5200), (1, 1700)):
            await visit.ingress.say(ask_id, "queued", {"position": position, "expected_ms": expected_ms})
            await expect(progress).to_contain_text(f"Number {position} in the queue, about {expected_ms / 1000}")
        await visit.ingress.say(ask_id, "delta", {"text": "He"})
        await expect(progress).to_have_text("Writing …")

        visit.ingress.full = Busy("more questions wait than can be answered in time", retry_after=3)
        await visit.page.fill("#q", "Who else?")
        await visit.page.keyboard.press("Enter")
        told = visit.page.locator("#answer [role=alert]")
        await expect(told).to_contain_text("more questions wait than can be answered in time")
        await expect(told.get_by_role("link", name="Try again")).to_be_visible()

        visit.ingress.full = None
        assert await visit.ask("Who else?") != ask_id


async def test_the_keyboard_is_enough(visit: Visit) -> None:
    await visit.page.evaluate("document.activeElement.blur()")
    await visit.page.keyboard.press("/")
    await expect(visit.page.locator("#q")).to_be_focused()
    await visit.page.keyboard.type("to be")
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_selector("#answer .running")
    await eventually(lambda: bool(visit.ingress.asks))
    await tell(visit.ingress, list(visit.ingress.asks)[-1])
    await visit.page.wait_for_selector("#answer .completed")

    for _ in range(20):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("document.activeElement.matches('.cite')"):
            break
    await visit.page.keyboard.press("Enter")

    await expect(visit.page.get_by_role("dialog")).to_be_visible()
    assert await visit.page.evaluate("document.activeElement.closest('dialog') !== null")
    await visit.page.keyboard.press("Escape")
    await expect(visit.page.get_by_role("dialog")).to_be_hidden()
    assert await visit.page.evaluate("document.activeElement.matches('.cite')")


async def test_the_skip_link_comes_first(visit: Visit) -> None:
    await visit.page.goto(f"{visit.address}/?q=to")
    await visit.page.keyboard.press("Tab")

    await expect(visit.page.get_by_role("link", name="Skip to the content")).to_be_focused()


async def test_without_scripts_searching_and_asking_work(browser: Browser) -> None:
    async with visiting(browser, ScriptedIngress(), java_script_enabled=False) as visit:
        await visit.page.goto(visit.address)
        await visit.page.fill("#q", "rotten")
        await visit.page.get_by_role("button", name="Search").click()
        await expect(visit.page.locator(".hit mark")).to_have_text("rotten")

        await visit.page.get_by_role("button", name="Ask").click()
        await expect(visit.page.locator("#answer .running")).to_be_visible()
        await tell(visit.ingress, list(visit.ingress.asks)[-1])

        await expect(visit.page.locator("#answer .completed .cite")).to_have_count(2)  # the page looks again by itself


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 844), (360, 640)])
async def test_every_state_is_readable_named_and_fits(
    browser: Browser, scheme: str, width: int, height: int, tmp_path: Path
) -> None:
    """Contrast, names, landmarks, headings, target sizes and width of each state; a picture of each in `tmp_path`."""
    size = {"width": width, "height": height}
    async with visiting(browser, ScriptedIngress(), color_scheme=scheme, viewport=size) as visit:
        await visit.page.goto(visit.address)
        await inspect(visit.page, tmp_path, "start")
        await visit.page.goto(f"{visit.address}/?q=to&filter.play=Macbeth")
        await inspect(visit.page, tmp_path, "narrowed")
        await visit.page.goto(f"{visit.address}/?q=nonsense")
        await inspect(visit.page, tmp_path, "nothing")
        ask_id = await visit.ask("What does Hamlet ask?")
        await visit.ingress.say(ask_id, "delta", {"text": "Hamlet asks"})
        await expect(visit.page.locator("#text")).to_have_text("Hamlet asks")
        await inspect(visit.page, tmp_path, "running")
        await tell(visit.ingress, ask_id)
        await visit.page.wait_for_selector("#answer .completed")
        await inspect(visit.page, tmp_path, "answered")
        await visit.page.get_by_role("button", name="Source 1").click()
        await inspect(visit.page, tmp_path, "passage")
        await visit.page.keyboard.press("Escape")
        await visit.page.get_by_label("Follow-up question").fill("And when did he ask it?")
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_selector("#answer .running")
        await inspect(visit.page, tmp_path, "follow-up-running")
        standalone = {"answer": "In act three.", "standalone_question": "And when did he ask it? (Hamlet)"}
        await visit.ingress.say(list(visit.ingress.asks)[-1], "completed", standalone)
        await visit.page.wait_for_selector("#answer .completed")
        await inspect(visit.page, tmp_path, "follow-up")
        for ending in ("failed", "abstained", "cancelled"):
            ask_id = await visit.ingress.ask(LOCAL, {"question": "Why?"}, listening=True)
            await visit.ingress.say(ask_id, ending, {"reason": "Because.", "answer": "Half an"})
            await visit.page.goto(f"{visit.address}/?q=why&answer={ask_id}")
            await inspect(visit.page, tmp_path, ending)
        await visit.page.goto(f"{visit.address}/ui/document?id=plays%2Fhamlet%2F2&start=13&end=19")
        await inspect(visit.page, tmp_path, "document")
        assert visit.heard == []


async def inspect(page: Page, folder: Path, name: str) -> None:
    await page.screenshot(path=folder / f"{name}.png")
    assert await page.evaluate(CHECKS) == [], name
