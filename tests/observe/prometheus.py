"""A real Prometheus over a local run, and what its HTTP API says."""

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from knts.local.process import free_port, http_status
from tests.e2e.roads import ROOT

COMPONENT = ROOT / "deploy/components/observability"
RULES = COMPONENT / "prometheus"
NEEDED = "needs Debian's package `prometheus` (apt install prometheus)"
START_SECONDS = 60.0

_AGGREGATED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\w|\s*\()")
_WORDS = frozenset({"and", "or", "unless", "offset", "by", "without", "on", "ignoring", "bool", "le"})


def program(name: str) -> str:
    """The path of promtool or prometheus; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(NEEDED)
    return found


def settled(expression: str) -> str:
    """A dashboard's query with Grafana's own variables replaced, as Grafana would for a short range."""
    return expression.replace("$__rate_interval", "5m")


def selectors(expression: str) -> set[str]:
    """Every series selector of an expression, without range and offset."""
    bare = _AGGREGATED.sub(" ", settled(expression))
    strings = _STRING.findall(bare)
    marked = iter(range(len(strings)))
    bare = _STRING.sub(lambda _: f'"{next(marked)}"', bare)  # what stands in strings is no PromQL
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+|\b[\d.]+(?:e\d+)?\b(?!\")", " ", bare)
    found = set()
    for name, matchers in _SELECTOR.findall(bare):
        if name not in _WORDS:
            found.add(name + re.sub(r'"(\d+)"', lambda number: strings[int(number[1])], matchers))
    return found


def operands(expression: str) -> list[str]:
    """What an alarm compares, without the comparison: its own expression has a series only while it rings."""
    return [re.sub(r"\s*[<>]=?\s*[\d.]+$", "", part) for part in re.split(r"\s+and\s+", expression)]


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file, in order."""
    groups = yaml.safe_load((RULES / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def ask(self, path: str, **query: str | float) -> Any:
        """The data of an API call. Raises HTTPError where Prometheus refuses it."""
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=30) as response:  # noqa: S310 - our own
            return json.load(response)["data"]

    def values(self, expression: str) -> list[float]:
        """An expression's values now, NaN left out."""
        found = [float(series["value"][1]) for series in self.ask("query", query=expression)["result"]]
        return [value for value in found if value == value]

    def series(self, selector: str, since: float) -> list[dict[str, str]]:
        """The series that a selector has had."""
        found: list[dict[str, str]] = self.ask("series", start=since, end=time.time(), **{"match[]": selector})
        return found


@contextlib.contextmanager
def scraping(targets: dict[str, str], folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the component's own rules, reading `/metrics` of these addresses by job every second."""
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / name) for name in ("prices.yaml", "recording.yaml", "alarms.yaml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [urllib.parse.urlsplit(url).netloc]}]}
            for job, url in targets.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + START_SECONDS
        while http_status(f"{prometheus.url}/-/ready")[0] != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Prometheus did not come up:\n{(folder / 'log').read_text()[-4000:]}")
            time.sleep(0.1)
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)
