"""A real headless Chromium, where the machine has one: Playwright brings none of its own here."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    """The Chromium that `KNTS_CHROMIUM` names, or the machine's."""
    named = os.environ.get("KNTS_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless Chromium; skips the test where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium found: install Debian's chromium, or name one with KNTS_CHROMIUM")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, headless=True, args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


def complaints(page: Page) -> list[str]:
    """A list that fills with what the browser complains of: script errors, refused policies, failed loads."""
    heard: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            heard.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard
