"""The whole road, as `make run` starts it: real servers, broker, functions and model, on ports and state of its own.

KNTS_E2E_URL and KNTS_E2E_BROKER_URL point the suite at a road that runs already, on any data plane; what needs this
machine's processes is skipped there.
"""

import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.roads import Road, start_road


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The road, started once for the session."""
    if url := os.environ.get("KNTS_E2E_URL"):
        yield Road(url.rstrip("/"), os.environ["KNTS_E2E_BROKER_URL"].rstrip("/"))
        return
    started = start_road(tmp_path_factory.mktemp("road"), KNTS_FIRST_DOCUMENTS="docs/events.md")
    yield started
    started.stop()


@pytest_asyncio.fixture
async def api(road: Road) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the page's address."""
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(road.base_url, timeout=timeout) as session:
        yield session
