"""The canary's queries, asked of a real Prometheus that holds what our own telemetry says of two revisions."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.canary.__main__ import LABELS
from deploy.canary.prometheus import EVENTS, PEOPLE, Away, Prometheus, Queries
from knts import telemetry
from knts.local.process import free_port, http_status, start, wait_until

PROGRAMS = [shutil.which(name) for name in ("prometheus", "promtool")]
needs_prometheus = pytest.mark.skipif(
    not all(PROGRAMS), reason="needs prometheus and promtool (apt install prometheus)"
)
EVERY = 60  # seconds between two pushes


def deliver(status: int, seconds: float) -> None:
    """What a delivery leaves in the metrics of an event function."""
    labels = {"http.request.method": "POST", "http.route": "/"}
    telemetry.observe("http.server.request.duration", seconds, {**labels, "http.response.status_code": status})
    telemetry.observe("messaging.process.duration", seconds, {"outcome": "done" if status == 202 else "bug"})


def good(seconds: float) -> Callable[[], None]:
    return lambda: deliver(202, seconds)


def searched() -> None:
    telemetry.observe(
        "http.server.request.duration",
        0.02,
        {"http.request.method": "GET", "http.route": "/v1/search", "http.response.status_code": 200},
    )


def streamed() -> None:
    """A stream of 8 s that is answered 200, and whose answer has failed all the same."""
    labels = {"http.request.method": "POST", "http.route": "/v1/answers", "http.response.status_code": 200}
    telemetry.observe("http.server.request.duration", 8.0, labels)
    telemetry.count("knts.answers", status="failed", cache="none")


def pushed(revision: str, *works: tuple[Callable[[], None], int]) -> list[str]:
    """Five minutes of a pod's samples, in each minute so many of each work, as lines of OpenMetrics."""
    lines = []
    now = time.time()
    telemetry.start("search", {})
    try:
        for minute in range(-5, 1):
            for work, times in works:
                for _ in range(times):
                    work()
            text, _ = telemetry.metrics()
            for family in text_string_to_metric_families(text.decode()):
                for sample in family.samples:
                    labels = {**sample.labels, "instance": f"{revision}-deployment-abc-1"}
                    shown = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
                    lines.append(f"{sample.name}{{{shown}}} {sample.value} {now + minute * EVERY:.3f}")
    finally:
        telemetry.stop()
    return lines


@contextlib.contextmanager
def running(folder: Path, lines: list[str]) -> Iterator[str]:
    """The address of a Prometheus that holds these samples."""
    (folder / "samples").write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("{}\n")
    prometheus, promtool = map(str, PROGRAMS)
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data"]
    subprocess.run(blocks, check=True, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    child = start(
        "prometheus", [prometheus, f"--config.file={folder / 'prometheus.yml'}", *options], log=folder / "log"
    )
    try:
        wait_until(lambda: http_status(f"http://{address}/-/ready")[0] == 200, child, seconds=60)
        yield f"http://{address}"
    finally:
        child.stop()


def asked(url: str, queries: Queries) -> Prometheus:
    return Prometheus(url, LABELS, queries)


@needs_prometheus
def test_each_revision_is_told_apart_and_its_failures_and_latency_are_counted(tmp_path: Path) -> None:
    lines = [
        *pushed("search-00001", (good(0.02), 60)),
        *pushed("search-00002", (good(0.2), 54), (lambda: deliver(503, 0.2), 3), (lambda: deliver(422, 0.2), 3)),
        *pushed("ingress-00001", (searched, 90), (streamed, 10)),
    ]
    with running(tmp_path, lines) as url:
        old, new = (asked(url, EVENTS).seen(f"search-0000{number}", 240) for number in (1, 2))
        assert old.errors == 0
        assert old.requests == pytest.approx(240, rel=0.35)  # PromQL extrapolates to the ends of the time
        assert new.error_rate == pytest.approx(0.1, rel=0.05)
        assert old.p95 is not None
        assert new.p95 is not None
        assert old.p95 <= 0.025 < 0.1 < new.p95 <= 0.25
        people = asked(url, PEOPLE).seen("ingress-00001", 240)
        assert people.error_rate == pytest.approx(0.1, rel=0.05)
        assert people.p95 is not None
        assert people.p95 <= 0.025
        unknown = asked(url, EVENTS).seen("search-00003", 240)
        assert (unknown.requests, unknown.errors, unknown.p95) == (0, 0, None)


def test_one_that_does_not_answer_is_away() -> None:
    with pytest.raises(Away, match="refused"):
        asked(f"http://127.0.0.1:{free_port()}", EVENTS).seen("search-00001", 60)
