"""kn-ts on the real data plane: the one end-to-end suite, and what it leaves to a run whose processes it knows."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e import test_dead_letters, test_road
from tests.e2e.poison import poisoned
from tests.e2e.roads import descendants, environment
from tests.knative.cluster import ROOT
from tests.knative.road import PlaneRoad

E2E_SECONDS = 540
LOCAL = ("--ignore=tests/e2e/test_start_and_stop.py",)  # starts and stops runs of its own, whatever road it is given
SEEN = (  # by name, so that none of these is skipped unnoticed
    "test_a_document_is_found_despite_typos_where_it_says_so",
    "test_an_answer_is_sourced_then_cached_and_follows_its_document",
    "test_a_deleted_document_is_gone",
    "test_an_answer_streams_and_is_resumed_exactly",
    "test_what_is_loaded_is_found_and_the_status_knows",
    "test_the_broker_answers_rubbish_as_knatives_does",
)


@pytest.mark.timeout(E2E_SECONDS + 240)
def test_the_end_to_end_suite_passes(plane_road: PlaneRoad) -> None:
    given = {"KNTS_E2E_URL": plane_road.url, "KNTS_E2E_BROKER_URL": plane_road.broker_url}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/e2e", *LOCAL, "-p", "no:cacheprovider", "-rA", "--show-capture=no"],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=E2E_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    passed = [line.partition("::")[2] for line in done.stdout.splitlines() if line.startswith("PASSED ")]
    print(f"{len(passed)} end-to-end tests passed on the real data plane")
    assert not set(SEEN) - set(passed)


@pytest_asyncio.fixture
async def api(plane_road: PlaneRoad) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(plane_road.url, timeout=aiohttp.ClientTimeout(total=100)) as session:
        yield session


def the_function(plane_road: PlaneRoad, name: str) -> int:
    """The process of a function."""
    wanted = {f"FUNCTION_TARGET={name}".encode()}
    [pid] = [pid for pid in descendants(plane_road.process.popen.pid) if wanted <= environment(pid)]
    return pid


@pytest.mark.parametrize("name", ["index-document", "search", "llm-answer"])
async def test_a_killed_function_is_tried_again_until_it_is_back(
    plane_road: PlaneRoad, api: aiohttp.ClientSession, name: str
) -> None:
    doc = test_road.keeper_document("Oban")
    killed = the_function(plane_road, name)
    os.kill(killed, signal.SIGKILL)
    version = await test_road.put(api, doc)
    answer = await test_road.ask(api, doc)
    assert answer["status"] == "completed"
    assert test_road.check_citations(answer, doc, version) > 0, answer
    assert the_function(plane_road, name) != killed


def knts(plane_road: PlaneRoad, *arguments: str) -> str:
    """What the command says; it must succeed."""
    told = {"KNTS_URL": plane_road.url, "KNTS_BROKER_URL": plane_road.broker_url, "KNTS_HOME": str(plane_road.home)}
    command = [sys.executable, "-m", "knts.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_who_waits_hears_of_a_dead_letter_and_a_replay_to_its_function_ends_it(
    plane_road: PlaneRoad, api: aiohttp.ClientSession
) -> None:
    doc = test_road.keeper_document()
    await test_road.put(api, doc)
    async with poisoned(plane_road.home, doc.id):
        problem = await test_dead_letters.asked_for_json(api, doc)
    assert (problem["type"], problem["status"]) == ("urn:knts:problem:failed", 502)

    listed = json.loads(knts(plane_road, "dead-letters", "list", "--since", "5m", "--limit", "1000", "--json"))
    [letter] = [each for each in listed["letters"] if each["attributes"].get("subject") == problem["id"]]
    search = plane_road.run["functions"]["search"]
    assert letter["trigger"] is None  # no Broker of Knative's tells it
    assert letter["destination"].rstrip("/") == search
    said = knts(plane_road, "dead-letters", "replay", letter["id"], "--to", search)
    assert said.splitlines()[-1] == "1 replayed of 1"
    assert (await test_road.ask(api, doc))["status"] == "completed"
