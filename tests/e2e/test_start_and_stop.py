"""A local run leaves no process behind and finds its data again."""

import signal
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.roads import Road, descendants, environment, start_road
from tests.e2e.test_road import keeper_document, put, search


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Inside another directory that is not there yet, with a space in its name."""
    return tmp_path / "not there" / "yet"


def of_home(road: Road) -> list[int]:
    """Every process of the machine that works on this home."""
    mark = f"KNTS_HOME={road.home}".encode()
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in environment(int(folder.name))]


def gone(road: Road, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while of_home(road) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not of_home(road)


async def test_stop_and_start_again(home: Path) -> None:
    doc = keeper_document()
    road = start_road(home, KNTS_FIRST_DOCUMENTS="docs/events.md")
    assert road.process is not None
    assert len(descendants(road.process.pid)) >= 10
    async with aiohttp.ClientSession(road.base_url) as api:
        await put(api, doc)
    assert road.stop(signal.SIGINT) == 0
    assert gone(road, 0)

    road = start_road(home, KNTS_FIRST_DOCUMENTS="docs/events.md")
    async with aiohttp.ClientSession(road.base_url) as api:
        assert (await search(api, f"keeper {doc.place}"))[0]["document_id"] == doc.id
    assert "first documents" not in (home / "said").read_text().rpartition("is starting")[2]
    road.stop(signal.SIGKILL)
    assert gone(road, 20)
