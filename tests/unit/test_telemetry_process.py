"""Telemetry of a process: start and stop, metrics, logs, the recorder's file, and OTLP to a collector."""

import http.server
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from knts import events, telemetry
from knts.telemetry import logs, measures, process, recorder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starting telemetry hands OTEL_… on to the process; the next test must not see it."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        if name.startswith("OTEL_"):
            del os.environ[name]


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


# -- start and stop ---------------------------------------------------------------------------------------------------


def test_everything_may_be_called_before_start_and_after_stop() -> None:
    telemetry.stop()
    event = events.new_event("a.b", "/x", {})
    with telemetry.processing(event, {}) as work, telemetry.model_call("m") as call, telemetry.span("s"):
        work.replied("c.d")
        call.first_token()
    telemetry.count("knts.answers", status="completed")
    assert telemetry.traced(event) == event
    assert telemetry.metrics()[0] == b""


def test_functions_that_share_a_process_share_its_telemetry(tmp_path: Path) -> None:
    telemetry.start("one", {"KNTS_TRACE_DIR": str(tmp_path)})
    telemetry.start("two", {"KNTS_TRACE_DIR": str(tmp_path)})
    telemetry.stop()
    with telemetry.span("still here"):
        pass
    telemetry.stop()
    assert [line["name"] for line in lines(tmp_path / "one.jsonl")] == ["still here"]
    telemetry.start("three", {"KNTS_TRACE_DIR": str(tmp_path)})
    with telemetry.span("again"):
        pass
    telemetry.stop()
    assert [line["name"] for line in lines(tmp_path / "three.jsonl")] == ["again"]


def test_without_an_exporter_nothing_is_recorded_but_traces_have_ids() -> None:
    telemetry.start("svc", {})
    with telemetry.span("s") as span:
        assert span.get_span_context().is_valid
        assert not span.is_recording()
    telemetry.stop()


def test_a_disabled_sdk_records_nothing(tmp_path: Path) -> None:
    telemetry.start("svc", {"OTEL_SDK_DISABLED": "true", "KNTS_TRACE_DIR": str(tmp_path)})
    telemetry.count("knts.answers")
    with telemetry.span("s"):
        pass
    telemetry.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_sampler_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    telemetry.start("svc", {"KNTS_TRACE_DIR": str(tmp_path)})
    with telemetry.span("s"):
        pass
    telemetry.stop()
    assert list(tmp_path.iterdir()) == []


# -- the recorder -----------------------------------------------------------------------------------------------------


def test_the_recorder_moves_a_full_file_aside(tmp_path: Path) -> None:
    def record(name: str, most: int) -> None:
        telemetry.start("svc", {"KNTS_TRACE_DIR": str(tmp_path)})
        monkey = recorder.Recorder(tmp_path, "small", max_bytes=most)
        with telemetry.span(name) as span:
            pass
        assert monkey.export([span]).name == "SUCCESS"  # type: ignore[list-item]
        telemetry.stop()

    for name in ("first", "second", "third"):
        record(name, 500)
    assert [line["name"] for line in lines(tmp_path / "small.jsonl")] == ["third"]
    assert [line["name"] for line in lines(tmp_path / "small.jsonl.1")] == ["second"]


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_prometheus_text() -> None:
    telemetry.start("svc", {})
    telemetry.count("knts.answers", status="completed", cache="hit")
    telemetry.count("knts.chunks", 5)
    telemetry.add("knts.waiting", 3)
    telemetry.add("knts.waiting", -1)
    telemetry.observe("knts.answer.first_token", 0.3, cache="miss")
    telemetry.watch("knts.queue", lambda: {"search": 4.0}, "trigger")
    text, media_type = telemetry.metrics()
    telemetry.stop()
    found = text.decode().splitlines()
    assert media_type.startswith("text/plain")
    assert 'knts_answers_total{cache="hit",status="completed"} 1.0' in found
    assert "knts_chunks_total 5.0" in found
    assert "knts_waiting 2.0" in found
    assert 'knts_answer_first_token_seconds_bucket{cache="miss",le="0.32"} 1.0' in found
    assert any(line.startswith("knts_queue") and line.endswith('{trigger="search"} 4.0') for line in found)
    assert any(line.startswith("process_resident_memory_bytes ") for line in found)
    assert 'service_name="kn-ts-svc"' in text.decode()


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=600))
def test_label_sets_are_bounded(values: list[int]) -> None:
    instruments = measures.Instruments()
    given_labels = [instruments.bounded("m", {"v": value, "w": "x"}) for value in values]
    kept = {tuple(labels.items()) for labels in given_labels}
    assert len(kept) <= measures.MOST_LABEL_SETS + 1
    assert all(
        labels in ({"v": value, "w": "x"}, {"v": "other", "w": "other"})
        for labels, value in zip(given_labels, values, strict=True)
    )
    assert given_labels[0]["v"] == values[0]


# -- logs -------------------------------------------------------------------------------------------------------------


def formatted(level: int, message: str, **extra: object) -> dict[str, object]:
    record = logging.getLogger("knts.test").makeRecord("knts.test", level, "f", 1, message, (), None, extra=extra)
    line: dict[str, object] = orjson.loads(logs.JsonLines("svc").format(record))
    return line


def test_a_log_line_names_its_service_correlation_and_trace(tmp_path: Path) -> None:
    telemetry.start("svc", {"KNTS_TRACE_DIR": str(tmp_path)})
    with telemetry.span("s") as span, telemetry.correlated("c" * 32):
        line = formatted(logging.WARNING, "careful", status=503)
        own = span.get_span_context()
    telemetry.stop()
    assert line.pop("time")
    assert line == {
        "severity": "WARNING",
        "service": "svc",
        "logger": "knts.test",
        "message": "careful",
        "correlation_id": "c" * 32,
        "trace_id": f"{own.trace_id:032x}",
        "span_id": f"{own.span_id:016x}",
        "status": 503,
    }


@given(st.text(), st.one_of(st.text(), st.binary(), st.integers(), st.dictionaries(st.integers(), st.text())))
def test_no_line_is_lost_whatever_it_holds(message: str, value: object) -> None:
    assert formatted(logging.INFO, message.replace("%", ""), what=value)["service"] == "svc"


def test_uvicorns_lines_come_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.start("svc", {"LOG_LEVEL": "info"})
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 1, extra={"color_message": "x"})
    logging.getLogger("knts").debug("not at this level")
    telemetry.stop()
    written = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["logger"], line["message"]) for line in written] == [("uvicorn.error", "Started server process [1]")]


def test_an_unknown_level_is_told_and_means_info(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.start("svc", {"LOG_LEVEL": "loud"})
    telemetry.stop()
    assert "LOG_LEVEL 'loud' is not a level" in capsys.readouterr().err
    assert logging.getLogger().level == logging.INFO


# -- OTLP -------------------------------------------------------------------------------------------------------------


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what is pushed to it, as an OpenTelemetry collector does."""

    received: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    received: list[tuple[str, bytes]] = []
    handler = type("OneCollector", (Collector,), {"received": received})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("env", "instance", "version"),
    [
        ({"K_REVISION": "svc-00003", "HOSTNAME": "svc-00003-deployment-x1"}, "svc-00003-deployment-x1", "svc-00003"),
        ({"HOSTNAME": "laptop"}, None, None),  # several run there, so the name is nobody's own
    ],
)
def test_each_process_that_pushes_has_an_instance_of_its_own(
    collector: tuple[str, list[tuple[str, bytes]]], env: dict[str, str], instance: str | None, version: str | None
) -> None:
    endpoint, received = collector
    telemetry.start("svc", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **env})
    telemetry.count("knts.answers", status="completed")
    telemetry.stop()
    pushed = ExportMetricsServiceRequest.FromString(dict(received)["/v1/metrics"])
    resource = {item.key: item.value.string_value for item in pushed.resource_metrics[0].resource.attributes}
    assert resource.get("service.version") == version
    assert resource["service.instance.id"] == instance if instance else len(resource["service.instance.id"]) == 36


def test_traces_and_metrics_are_pushed_and_flushed_at_stop(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    endpoint, received = collector
    telemetry.start("svc", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_RESOURCE_ATTRIBUTES": "team=docs"})
    with telemetry.span("pushed"):
        pass
    telemetry.count("knts.answers", status="completed")
    telemetry.stop()
    by_path = dict(received)
    traces = ExportTraceServiceRequest.FromString(by_path["/v1/traces"])
    resource = {item.key: item.value.string_value for item in traces.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "kn-ts-svc"
    assert resource["team"] == "docs"
    assert [span.name for span in traces.resource_spans[0].scope_spans[0].spans] == ["pushed"]
    pushed = ExportMetricsServiceRequest.FromString(by_path["/v1/metrics"])
    names = {metric.name for scope in pushed.resource_metrics[0].scope_metrics for metric in scope.metrics}
    assert "knts.answers" in names


def test_a_signal_can_be_switched_off_and_a_name_given(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    endpoint, received = collector
    env = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/v1/traces", "OTEL_SERVICE_NAME": "mine"}
    telemetry.start("svc", env)
    with telemetry.span("pushed"):
        pass
    telemetry.count("knts.answers", status="completed")
    telemetry.stop()
    assert {path for path, _ in received} == {"/v1/traces"}
    traces = ExportTraceServiceRequest.FromString(received[0][1])
    resource = {item.key: item.value.string_value for item in traces.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "mine"


def test_a_collector_that_is_gone_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(process, "STOP_SECONDS", 0.05)
    process._within(process.STOP_SECONDS, lambda: let_go.wait(30) and None)
    let_go.set()
    assert "telemetry was not flushed within 0.05 s" in caplog.text
