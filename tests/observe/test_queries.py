"""A real Prometheus reads a local run that has seen good and bad: what is asked of it has an answer.

`KNATIVE` names what a local run has not: it is only held against promtool.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.roads import start_road
from tests.observe.exercise import ENV, exercise, local
from tests.observe.prometheus import COMPONENT, Prometheus, operands, program, rules, scraping, selectors, settled

PATIENCE = 60.0
KNATIVE = "kn_"  # the metrics of Knative's own programs begin with it: there are none of them in a local run
KNATIVE_RULES = frozenset({"knts:knative_deliveries:rate5m"})


@dataclass(frozen=True)
class Seen:
    """A road after its exercise, in Prometheus."""

    prometheus: Prometheus
    since: float


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    program("prometheus")
    home, since = tmp_path_factory.mktemp("observed"), time.time()
    road = start_road(home / "road", **ENV)
    try:
        run = local(road)
        jobs = {f"kn-ts/kn-ts-{name}": url for name, url in run["functions"].items()}
        with scraping({**jobs, "broker": run["broker"]}, home / "prometheus") as prometheus:
            until(lambda: all(value == 1 for value in ups(prometheus, len(jobs) + 1)))
            asyncio.run(exercise(road, lambda: asyncio.to_thread(scraped, prometheus)))
            scraped(prometheus)
            for _ in range(2):  # alarms and some rules rest on other rules
                evaluated(prometheus)
            yield Seen(prometheus, since)
    finally:
        road.stop()


def ups(prometheus: Prometheus, expected: int) -> list[float]:
    values = prometheus.values("up")
    return values if len(values) == expected else [0.0]


def scraped(prometheus: Prometheus) -> None:
    """Return when every target has been read since now."""
    now = time.time()
    until(lambda: all(at > now for at in prometheus.values("timestamp(up)")))


def evaluated(prometheus: Prometheus) -> None:
    """Return when every group of rules has been evaluated since now."""
    now = time.time()
    until(lambda: all(at > now for at in evaluations(prometheus)))


def evaluations(prometheus: Prometheus) -> list[float]:
    groups = prometheus.ask("rules")["groups"]
    return [datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.5)


def asked() -> Iterator[tuple[str, str]]:
    """Every expression that a local run can answer, by where it stands."""
    for path in sorted((COMPONENT / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                if panel["datasource"]["type"] == "prometheus":
                    yield f"{path.stem}: {panel['title']} {target['refId']}", settled(target["expr"])
    for name in ("prices.yaml", "recording.yaml"):
        for rule in rules(name):
            yield rule["record"], rule["expr"]
    for rule in rules("alarms.yaml"):
        for number, operand in enumerate(operands(rule["expr"])):
            yield f"{rule['alert']} {number}", operand


def of_knative(expression: str) -> bool:
    return any(selector.startswith(KNATIVE) or selector in KNATIVE_RULES for selector in selectors(expression))


ASKED = list(asked())
HERE = [case for case in ASKED if not of_knative(case[1])]
SILENCE = "absent_over_time("


@pytest.mark.parametrize(("where", "expression"), HERE, ids=[where for where, _ in HERE])
def test_each_series_that_is_asked_for_is_there(seen: Seen, where: str, expression: str) -> None:
    missing = [selector for selector in selectors(expression) if not seen.prometheus.series(selector, seen.since)]
    assert not missing


@pytest.mark.parametrize(("where", "expression"), HERE, ids=[where for where, _ in HERE])
def test_each_expression_has_a_value(seen: Seen, where: str, expression: str) -> None:
    values = seen.prometheus.values(expression)
    if expression.startswith(SILENCE):
        assert not values, "it is not silent"
    else:
        assert values


def test_what_only_knative_has_is_known_by_name() -> None:
    """A query that moves here is noticed: nothing else is left out of the two tests above."""
    left_out = sorted(where for where, expression in ASKED if of_knative(expression))
    assert left_out == [
        "knts-broker: Deliveries A",
        "knts-broker: One attempt A",
        "knts-broker: One attempt B",
        "knts-broker: Waiting for a pod A",
        "knts-road: Pods of each revision A",
        "knts-road: Pods of each revision B",
        "knts:deliveries_failed:ratio10m",
        "knts:knative_deliveries:rate5m",
    ]


def test_what_only_knative_has_can_be_read(tmp_path: Path) -> None:
    read = [{"record": f"a:{at}", "expr": case[1]} for at, case in enumerate(ASKED) if of_knative(case[1])]
    rule_file = tmp_path / "rules.yaml"
    rule_file.write_text(yaml.safe_dump({"groups": [{"name": "knative", "rules": read}]}))
    command = [program("promtool"), "check", "rules", rule_file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, f"{len(read)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_exercise_rang_what_it_should(seen: Seen) -> None:
    """The alarms that ring at once, for what the exercise did."""
    ringing: set[Any] = {alert["labels"]["alertname"] for alert in seen.prometheus.ask("alerts")["alerts"]}
    assert {"DeadLetters", "DocumentsRejected", "FunctionBug"} <= ringing
    assert not ringing & {"IngressSilent", "EventsDiscarded", "ModelResting"}
