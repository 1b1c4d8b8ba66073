"""The command line on the whole road: load, search, ask, and the trace of what was asked."""

import asyncio
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from knts.cli.spans import read, tree
from tests.e2e.roads import ROOT, Road


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


@pytest.fixture
def knts(road: Road) -> Callable[..., Any]:
    """Run the command in a process of its own."""
    env = {**os.environ, "KNTS_URL": road.base_url, "KNTS_BROKER_URL": road.broker_url, "PYTHONPATH": str(ROOT)}
    if road.home is not None:
        env["KNTS_HOME"] = str(road.home)

    async def run(*arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "knts.cli",
            *arguments,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 110)
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run


@pytest.fixture
def word() -> str:
    """A word that no other document has."""
    return "w" + secrets.token_hex(6)


async def loaded(knts: Callable[..., Any], folder: Path, word: str) -> None:
    text = f"# Leave\n\nThe {word} rule gives everybody thirty days of leave a year.\n\n# Sleep\n\nSleep well.\n"
    (folder / f"{word}.md").write_text(text)
    report = (await knts("load", str(folder / f"{word}.md"), "--metadata", f"rule={word}", "--json")).json
    assert (report["sent"], report["indexed"], report["refused"]) == (1, 1, [])


async def test_what_is_loaded_is_found_and_the_status_knows(
    knts: Callable[..., Any], tmp_path: Path, word: str
) -> None:
    await loaded(knts, tmp_path, word)
    found = (await knts("search", word, "--facet", "rule", "--json")).json
    (hit,) = found["hits"]
    assert (hit["document_id"], hit["version"]) == (f"{word}.md", 1)
    assert word in hit["passage"]["text"]
    assert "Sleep" not in hit["passage"]["text"]
    status = await knts("status", "--json")
    assert (status.code, status.json["parts"]) == (0, {"ingress": "ready", "broker": "ready"})
    assert status.json["documents"]["by_status"]["indexed"] >= 1


async def test_a_question_is_answered_and_its_trace_is_one_tree(
    knts: Callable[..., Any], tmp_path: Path, road: Road, word: str
) -> None:
    await loaded(knts, tmp_path, word)
    asked = await knts(
        "ask", f"How many days of leave does the {word} rule give?", "--filter", f"rule={word}", "--json"
    )
    assert asked.code in (0, 4), asked.err
    answer = asked.json
    assert {passage["document_id"] for passage in answer["passages"]} == {f"{word}.md"}
    if road.home is None:
        pytest.skip("the spans of a road that others started are elsewhere")
    traced = await eventually_traced(knts, road.home / "traces", answer["id"])
    assert traced.code == 0
    spans = read(road.home / "traces", answer["id"])
    (root,) = tree(spans)
    assert (root.span["service"], root.span["name"]) == ("ingress", "POST /v1/answers")
    assert {span["service"] for span in spans} >= {"ingress", "broker", "search", "llm-answer", "cache-writer"}
    assert "process answer.requested" in traced.out


async def eventually_traced(knts: Callable[..., Any], folder: Path, answer: str) -> Ended:
    """The drawing, once cache-writer's spans are in it, and every span's parent, which ends after it."""
    for _ in range(50):
        traced: Ended = await knts("trace", answer, "--dir", str(folder))
        if "process answer.completed" in traced.out and len(tree(read(folder, answer))) == 1:
            break
        await asyncio.sleep(0.2)
    return traced
