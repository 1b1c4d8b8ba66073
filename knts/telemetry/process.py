"""Start and stop of a process's telemetry: providers, exporters, the recorder and the clients' instrumentation."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, ProcessResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry, ProcessCollector

from knts.telemetry import asgi, logs, measures, spans
from knts.telemetry.recorder import FLUSH_MS, Recorder
from knts.telemetry.sampling import WithinWork

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # a collector that is gone must not hold up a shutdown
_DEFAULTS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
}


@dataclass
class Running:
    """The telemetry of this process; functions that share a process share it, and the last to stop ends it."""

    users: int
    end: Callable[[], None]


_running: Running | None = None


def start(service: str, env: Mapping[str, str]) -> None:
    """Configure logs, traces and metrics of this process from `env`: `LOG_LEVEL`, `KNTS_TRACE_DIR`, `OTEL_*`.

    A second start in one process joins the first; its spans and logs are told apart by `ServerSpans`.
    """
    global _running
    if _running is not None:
        _running.users += 1
        return
    logs.configure(service, env.get("LOG_LEVEL", "INFO"))
    _prepare(env)
    _running = Running(1, _providers(service, env))


def stop() -> None:
    """Flush what is not yet exported, within `STOP_SECONDS`."""
    global _running
    if _running is None:
        return
    _running.users -= 1
    if _running.users == 0:
        ended, _running = _running, None
        ended.end()


def _prepare(env: Mapping[str, str]) -> None:
    """OpenTelemetry's SDK and instrumentations read nothing but `os.environ`."""
    for name, value in env.items():
        if name.startswith("OTEL_"):
            os.environ.setdefault(name, value)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _providers(service: str, env: Mapping[str, str]) -> Callable[[], None]:
    disabled = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    resource = _resource(service, env)
    processors = [] if disabled else _span_processors(service, env)
    tracing = TracerProvider(ALWAYS_OFF if not processors else None, resource, shutdown_on_exit=False)
    redis = TracerProvider(WithinWork(tracing.sampler), resource, shutdown_on_exit=False)
    for processor in (spans.Marks(service), *processors):
        tracing.add_span_processor(processor)
        redis.add_span_processor(processor)
    registry = CollectorRegistry()
    metering = MeterProvider([] if disabled else _metric_readers(registry, env), resource, shutdown_on_exit=False)
    spans.use(tracing.get_tracer("knts"))
    spans.publish_provider()
    measures.use(measures.Instruments(metering.get_meter("knts"), registry))
    measures.watch("http.server.active_requests", lambda: asgi.active, "faas.name")
    if not disabled:
        ProcessCollector(registry=registry)
        AioHttpClientInstrumentor().instrument(tracer_provider=tracing, meter_provider=metering)
    if processors:
        RedisInstrumentor().instrument(tracer_provider=redis)

    def end() -> None:
        for instrumentor in (AioHttpClientInstrumentor(), RedisInstrumentor()):
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
        spans.reset()
        measures.use(measures.Instruments())
        _within(STOP_SECONDS, tracing.shutdown, metering.shutdown)

    return end


def _resource(service: str, env: Mapping[str, str]) -> Resource:
    named = Resource({"service.name": f"kn-ts-{service}", "service.namespace": "kn-ts", **_revision(env)})
    given = Resource({"service.name": name} if (name := env.get("OTEL_SERVICE_NAME")) else {})
    detected = OTELResourceDetector().detect()
    return Resource.create().merge(named).merge(ProcessResourceDetector().detect()).merge(detected).merge(given)


def _revision(env: Mapping[str, str]) -> dict[str, str]:
    """In a pod of Knative Serving its name and its revision, so that what is pushed can be told apart by both.

    Elsewhere the SDK's own random `service.instance.id` stands.
    """
    revision, pod = env.get("K_REVISION"), env.get("HOSTNAME")
    return {"service.instance.id": pod, "service.version": revision} if revision and pod else {}


def _span_processors(service: str, env: Mapping[str, str]) -> list[SpanProcessor]:
    found: list[SpanProcessor] = []
    if _otlp(env, "TRACES"):
        exporter: SpanExporter = OTLPSpanExporter()
        found.append(BatchSpanProcessor(exporter))
    if folder := env.get("KNTS_TRACE_DIR"):
        recorder = Recorder(Path(folder), service)
        found.append(
            BatchSpanProcessor(
                recorder, max_queue_size=16384, schedule_delay_millis=FLUSH_MS, max_export_batch_size=2048
            )
        )
    return found


def _metric_readers(registry: CollectorRegistry, env: Mapping[str, str]) -> list[MetricReader]:
    readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=registry)]
    if _otlp(env, "METRICS"):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    return readers


def _otlp(env: Mapping[str, str], signal: str) -> bool:
    """Whether this signal is pushed: an endpoint is set and `OTEL_<signal>_EXPORTER` does not say otherwise."""
    endpoint = env.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(endpoint) and "otlp" in env.get(f"OTEL_{signal}_EXPORTER", "otlp")


def _within(seconds: float, *steps: Callable[[], None]) -> None:
    """Run the steps in a thread of their own, and leave it behind when it takes too long."""
    thread = threading.Thread(target=lambda: [step() for step in steps], daemon=True, name="telemetry-stop")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("telemetry was not flushed within %g s; what was left is lost", seconds)
