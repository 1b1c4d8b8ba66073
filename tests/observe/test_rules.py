"""Rules and alarms by promtool: they hold what they say, and each alarm is explained and tested."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.roads import ROOT
from tests.observe.prometheus import RULES, operands, program, rules, selectors

TESTS = Path(__file__).parent / "rules" / "alarms.yaml"
ALARMS = rules("alarms.yaml")
NAMES = [rule["alert"] for rule in ALARMS]


def promtool(*arguments: str | Path) -> str:
    """What promtool says; fails the test where it fails."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["prices.yaml", "recording.yaml", "alarms.yaml"])
def test_prometheus_reads_the_rules(name: str) -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", RULES / name)


def test_prometheus_reads_its_configuration(tmp_path: Path) -> None:
    for path in RULES.glob("*.yaml"):
        text = path.read_text().replace("/etc/prometheus/", f"{tmp_path}/")
        (tmp_path / path.name).write_text(text)
    assert "3 rule files found" in promtool("check", "config", tmp_path / "prometheus.yaml")


def test_each_alarm_rings_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


@pytest.mark.parametrize("alarm", NAMES)
def test_each_alarm_is_seen_to_ring_and_to_be_silent(alarm: str) -> None:
    cases = [case for case in yaml.safe_load(TESTS.read_text())["tests"] if case["name"].startswith(f"{alarm}: ")]
    expected = [check["exp_samples"] for case in cases for check in case["promql_expr_test"]]
    assert [] in expected
    assert any(expected)
    assert all(f'alertname="{alarm}"' in check["expr"] for case in cases for check in case["promql_expr_test"])


@pytest.mark.parametrize("rule", ALARMS, ids=NAMES)
def test_each_alarm_says_what_to_do_first_and_where_it_is_explained(rule: dict[str, dict[str, str]]) -> None:
    page, anchor = rule["annotations"]["runbook"].split("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    assert rule["annotations"]["first"]
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_each_explained_alarm_is_one() -> None:
    assert re.findall(r"^## (\w+)$", (ROOT / "docs/alarms.md").read_text(), re.MULTILINE) == NAMES


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("sum by (job) (rate(a_total[5m]))", {"a_total"}),
        ('a{b="c", d=~"e|f"} / on (b) group_left () x:y:z', {'a{b="c", d=~"e|f"}', "x:y:z"}),
        ("(max_over_time(a_total[15m]) unless a_total offset 15m) or increase(a_total[15m])", {"a_total"}),
        ('label_replace(rate(a{b=~"t:.*"}[5m]), "t", "$2/$1", "b", "t:([^.]+)[.](.+)")', {'a{b=~"t:.*"}'}),
        ("vector(0.10 / 1e6)", set()),
        ("histogram_quantile(0.95, sum by (le, b) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}),
    ],
)
def test_the_series_of_an_expression(expression: str, found: set[str]) -> None:
    assert selectors(expression) == found


@pytest.mark.parametrize(
    ("alarm", "compared"),
    [
        ("a > 0.05", ["a"]),
        ('a{b="x > 1"} > 0.05 and c >= 10', ['a{b="x > 1"}', "c"]),
        ("absent_over_time(a[10m])", ["absent_over_time(a[10m])"]),
    ],
)
def test_what_an_alarm_compares(alarm: str, compared: list[str]) -> None:
    assert operands(alarm) == compared
