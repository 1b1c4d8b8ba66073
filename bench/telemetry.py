"""`python -m bench.telemetry`: what telemetry costs in CPU, recorder and its thread included, beside doing nothing.

"off" is telemetry without an exporter: metrics, and ids for logs. "on" records every span as the local run does.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import CollectorRegistry

from bench.measure import machine, table
from knts import events, telemetry
from knts.telemetry.recorder import Recorder

CALLS, WARM_UP, ROUNDS = 4000, 200, 3
Call = Callable[[], Awaitable[object]]

EVENT = events.new_event(
    events.SEARCH_REQUESTED,
    "/bench",
    {"query": "x"},
    correlationid="c" * 32,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "query_string": b"",
    "scheme": "http",
    "http_version": "1.1",
    "server": ("127.0.0.1", 8080),
    "client": ("127.0.0.1", 5000),
    "headers": [(f"ce-{name}".encode(), value.encode()) for name, value in EVENT.attributes.items()],
}


async def answer(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing(*_: object) -> Any:
    return {"type": "http.request", "body": b""}


async def process() -> None:
    with telemetry.processing(EVENT, {}):
        pass


async def count() -> None:
    telemetry.count("knts.answers", status="completed", cache="hit")


def packaged_middleware(sampler: Sampler, folder: str) -> OpenTelemetryMiddleware:
    """OpenTelemetry's own middleware with the same recorder and metrics."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http,database"
    tracing = TracerProvider(sampler, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(Recorder(Path(folder), "packaged"), schedule_delay_millis=500))
    metering = MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())], shutdown_on_exit=False)
    spans: list[Literal["receive", "send"]] = ["receive", "send"]
    return OpenTelemetryMiddleware(answer, tracer_provider=tracing, meter_provider=metering, exclude_spans=spans)


def request(app: Any) -> Call:
    """One request to an app."""
    return lambda: app(dict(SCOPE), nothing, nothing)


async def spent(call: Call) -> float:
    """Microseconds of CPU that one call takes, in all threads."""
    for _ in range(WARM_UP):
        await call()
    started = time.process_time()
    for _ in range(CALLS):
        await call()
    await asyncio.sleep(1)  # the recorder writes within half a second
    return 1e6 * (time.process_time() - started) / CALLS


def measured(call: Call, env: dict[str, str] | None) -> float:
    """The best of some rounds; with None telemetry is not started."""
    found = []
    for _ in range(ROUNDS):
        if env is not None:
            telemetry.start("bench", {"LOG_LEVEL": "WARNING", **env})
        found.append(asyncio.run(spent(call)))
        telemetry.stop()
    return min(found)


def main() -> None:
    """Print the table."""
    ours = telemetry.ServerSpans(answer, "bench")
    print(f"{machine()}; µs of CPU a call, best of {ROUNDS} rounds of {CALLS}\n")
    with tempfile.TemporaryDirectory() as folder:
        rows: list[tuple[object, ...]] = [
            (name, measured(call, None), measured(call, {}), measured(call, {"KNTS_TRACE_DIR": folder}))
            for name, call in (
                ("an HTTP request", request(ours)),
                ("an event processed", process),
                ("a metric counted", count),
            )
        ]
        packaged = [
            measured(request(packaged_middleware(sampler, folder)), None) for sampler in (ALWAYS_OFF, ALWAYS_ON)
        ]
    rows.append(("the same with the packaged middleware", "", *packaged))
    print(table(("what", "not started", "off", "on"), rows))


if __name__ == "__main__":
    main()
