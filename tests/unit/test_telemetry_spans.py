"""What spans say of events, requests and model calls, read back from the local recorder."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from knts import events, telemetry
from knts.errors import Permanent, Temporary
from knts.events import Event
from knts.telemetry import sampling

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"
CORRELATION = "c" * 32
Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Read]:
    """Telemetry runs; the call ends it and gives its spans in order of their end."""
    telemetry.start("search", {"KNTS_TRACE_DIR": str(tmp_path)})
    running = True

    def read() -> list[dict[str, Any]]:
        nonlocal running
        telemetry.stop()
        running = False
        path = tmp_path / "search.jsonl"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    yield read
    if running:
        telemetry.stop()


def delivered(**attributes: str) -> Event:
    named = {"subject": "s", "correlationid": CORRELATION, "traceparent": TRACEPARENT, **attributes}
    return events.new_event("knts.search.requested.v1", "/knts/ingress", {"query": "x"}, id="e-1", **named)


# -- events -----------------------------------------------------------------------------------------------------------


def test_processing_an_event_is_a_consumer_span_with_its_attributes(recorded: Read) -> None:
    event = delivered()
    with telemetry.processing(event, {}) as work:
        work.replied("knts.passages.found.v1")
    (span,) = recorded()
    assert (span["name"], span["kind"], span["service"]) == ("process knts.search.requested.v1", "consumer", "search")
    assert (span["trace_id"], span["parent_id"], span["links"]) == (TRACE, PARENT, [])
    assert span["attributes"] == {
        "messaging.system": "knative",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "e-1",
        "messaging.message.body.size": len(event.data),
        "messaging.message.conversation_id": CORRELATION,
        "cloudevents.event_id": "e-1",
        "cloudevents.event_source": "/knts/ingress",
        "cloudevents.event_spec_version": "1.0",
        "cloudevents.event_type": "knts.search.requested.v1",
        "cloudevents.event_subject": "s",
        "knts.correlation_id": CORRELATION,
        "knts.outcome": "replied",
        "knts.reply_type": "knts.passages.found.v1",
    }
    assert span["end"] > span["start"] > 1_700_000_000_000_000_000


def test_the_delivery_goes_before_the_events_own_trace_which_is_linked(recorded: Read) -> None:
    with telemetry.processing(delivered(), {"traceparent": OTHER}):
        pass
    (span,) = recorded()
    assert (span["trace_id"], span["parent_id"]) == ("1" * 32, "2" * 16)
    assert span["links"] == [f"{TRACE}-{PARENT}"]


@pytest.mark.parametrize(
    ("error", "outcome", "told"),
    [
        (Permanent("no such field"), "refused", "no such field"),
        (Temporary("Redis is gone"), "retry", "Redis is gone"),
        (ValueError("with a secret in it"), "bug", "ValueError"),
        (asyncio.CancelledError(), "interrupted", None),
    ],
)
def test_a_failure_is_told_by_its_kind_and_goes_on(
    recorded: Read, error: BaseException, outcome: str, told: str | None
) -> None:
    with pytest.raises(type(error)), telemetry.processing(delivered(), {}):
        raise error
    text, _ = telemetry.metrics()
    (span,) = recorded()
    assert (span["attributes"]["knts.outcome"], span["error"]) == (outcome, told)
    assert f'outcome="{outcome}"'.encode() in text


def test_every_span_of_the_work_carries_the_correlation_id_and_none_outside(recorded: Read) -> None:
    with telemetry.processing(delivered(), {}), telemetry.span("rank", hits=3):
        assert telemetry.correlation_id() == CORRELATION
    with telemetry.span("alone"):
        pass
    rank, process, alone = recorded()
    assert rank["parent_id"] == process["span_id"]
    assert rank["attributes"] == {"hits": 3, "knts.correlation_id": CORRELATION}
    assert alone["attributes"] == {}


def test_correlating_marks_the_span_at_hand(recorded: Read) -> None:
    with telemetry.span("request"), telemetry.correlated("a" * 32):
        pass
    assert recorded()[0]["attributes"] == {"knts.correlation_id": "a" * 32}


def test_a_published_event_starts_the_trace_where_it_names_none(recorded: Read) -> None:
    with telemetry.publishing(events.new_event("a.b", "/x", {})) as sent:
        here = trace.get_current_span().get_span_context()
    with telemetry.publishing(delivered()) as kept:
        pass
    text, _ = telemetry.metrics()
    first, second = recorded()
    assert (first["name"], first["kind"]) == ("send a.b", "producer")
    assert sent.attributes["traceparent"][:-2] == f"00-{here.trace_id:032x}-{here.span_id:016x}-"
    assert kept.attributes["traceparent"] == TRACEPARENT
    assert second["name"] == "send knts.search.requested.v1"
    assert b'messaging_client_sent_messages_total{outcome="sent",type="a.b"} 1.0' in text


def test_trace_attributes_are_those_of_the_span_at_hand(recorded: Read) -> None:
    assert telemetry.trace_attributes() == {}
    with telemetry.span("here"):
        attributes = telemetry.trace_attributes()
    (span,) = recorded()
    assert list(attributes) == ["traceparent"]
    assert attributes["traceparent"][:-2] == f"00-{span['trace_id']}-{span['span_id']}-"


@pytest.mark.parametrize("broken", ["rubbish", "00-0-0-00", f"00-{'0' * 32}-{PARENT}-01"])
def test_a_broken_traceparent_starts_a_new_trace(recorded: Read, broken: str) -> None:
    with telemetry.processing(delivered(traceparent=broken), {"traceparent": broken}):
        pass
    (span,) = recorded()
    assert span["parent_id"] is None
    assert span["links"] == []


# -- requests ---------------------------------------------------------------------------------------------------------


async def hello(_: Request) -> Response:
    return Response("hello")


async def stream(_: Request) -> Response:
    async def chunks() -> Any:
        for number in range(50):
            yield f"data: {number}\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


async def broken(_: Request) -> Response:
    raise RuntimeError("a bug")


async def busy(_: Request) -> Response:
    return Response(status_code=503)


def app() -> Starlette:
    routes = [
        Route("/", hello, methods=["GET", "POST"]),
        Route("/healthz", hello),
        Route("/v1/answers/{id}/events", stream),
        Route("/v1/documents/{id:path}", hello),
        Route("/busy", busy),
        Route("/broken", broken),
        Mount("/static", Starlette(routes=[Route("/{name}", hello)])),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(telemetry.ServerSpans, function="search")
    return app


async def request(method: str, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://kn.test:80") as client:
        return await client.request(method, path, headers=named)


@pytest.mark.parametrize(
    ("path", "name", "status", "error"),
    [
        ("/", "GET /", 200, None),
        ("/v1/documents/a/b?secret=1", "GET /v1/documents/{id}", 200, None),
        ("/static/page.css", "GET /static/{path}", 200, None),
        ("/nowhere/at/all", "GET", 404, None),
        ("/busy", "GET /busy", 503, "503"),
        ("/broken", "GET /broken", 500, "RuntimeError"),
    ],
)
async def test_a_request_is_a_server_span_named_by_its_route(
    recorded: Read, path: str, name: str, status: int, error: str | None
) -> None:
    await request("GET", path)
    (span,) = recorded()
    assert (span["name"], span["kind"], span["error"]) == (name, "server", error)
    assert span["attributes"]["http.response.status_code"] == status
    assert span["attributes"]["url.path"] == path.partition("?")[0]
    assert "secret" not in str(span)


async def test_requests_are_measured_by_method_route_and_status(recorded: Read) -> None:
    for document in ("one", "two"):
        await request("GET", f"/v1/documents/{document}")
    lines = telemetry.metrics()[0].decode().splitlines()
    counted = [line for line in lines if line.startswith("http_server_request_duration_seconds_count")]
    assert counted == [
        "http_server_request_duration_seconds_count{"
        'http_request_method="GET",http_response_status_code="200",http_route="/v1/documents/{id}"} 2.0'
    ]
    assert 'http_server_active_requests{faas_name="search"} 0.0' in lines


async def test_a_stream_is_one_span(recorded: Read) -> None:
    response = await request("GET", f"/v1/answers/{CORRELATION}/events")
    assert response.text.count("data:") == 50
    (span,) = recorded()
    assert span["name"] == "GET /v1/answers/{id}/events"
    assert span["events"] == []


@pytest.mark.parametrize(
    ("headers", "parent"),
    [
        ({"traceparent": OTHER, "ce_traceparent": TRACEPARENT}, ("1" * 32, "2" * 16)),
        ({"ce_traceparent": TRACEPARENT}, (TRACE, PARENT)),
        ({"traceparent": "rubbish", "ce_traceparent": TRACEPARENT}, (TRACE, PARENT)),
    ],
)
async def test_a_request_continues_the_callers_trace_or_the_events(
    recorded: Read, headers: dict[str, str], parent: tuple[str, str]
) -> None:
    await request("POST", "/", ce_correlationid=CORRELATION, **headers)
    (span,) = recorded()
    assert (span["trace_id"], span["parent_id"]) == parent
    assert span["attributes"]["knts.correlation_id"] == CORRELATION


async def test_health_routes_make_no_spans(recorded: Read) -> None:
    assert (await request("GET", "/healthz")).status_code == 200
    assert recorded() == []


async def test_an_unknown_method_does_not_become_a_label(recorded: Read) -> None:
    await request("BREW", "/")
    assert recorded()[0]["attributes"]["http.request.method"] == "HTTP"


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_model_call_speaks_gen_ai(recorded: Read) -> None:
    with telemetry.model_call("smollm2", url="http://ollama:11434", max_tokens=100) as call:
        call.first_token()
        waited = call.waited
        call.first_token()
        call.finished({"prompt_tokens": 30, "completion_tokens": 7}, ["stop"], model="smollm2:135m")
    text = telemetry.metrics()[0].decode()
    (span,) = recorded()
    assert (span["name"], span["kind"], span["error"]) == ("chat smollm2", "client", None)
    assert span["attributes"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "smollm2",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.response.model": "smollm2:135m",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": waited,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 7,
        "server.address": "ollama",
        "server.port": 11434,
    }
    labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="ollama",gen_ai_request_model="smollm2"'
    assert f"gen_ai_client_operation_time_to_first_chunk_seconds_count{{{labels}}} 1.0" in text
    assert f"gen_ai_client_operation_duration_seconds_count{{{labels}}} 1.0" in text
    assert f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}} 7.0' in text


def test_a_failed_model_call_says_so(recorded: Read) -> None:
    with pytest.raises(Temporary), telemetry.model_call("m"):
        raise Temporary("Ollama is gone")
    assert b'error_type="unavailable"' in telemetry.metrics()[0]
    (span,) = recorded()
    assert (span["error"], span["attributes"]["error.type"]) == ("Ollama is gone", "unavailable")


async def test_a_model_call_in_a_generator_is_not_current_for_its_reader_and_may_be_left(recorded: Read) -> None:
    async def tokens() -> Any:
        with telemetry.model_call("m") as call:
            while True:
                call.first_token()
                yield "x"

    with telemetry.span("reader") as reader:
        stream = tokens()
        await anext(stream)
        assert trace.get_current_span() is reader
        await stream.aclose()
    call, outer = recorded()
    assert (call["parent_id"], call["error"]) == (outer["span_id"], None)
    assert call["attributes"]["error.type"] == "cancelled"


# -- what instrumented clients may record -----------------------------------------------------------------------------


def test_calls_that_belong_to_no_work_are_not_recorded_and_a_flood_is_cut(recorded: Read) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    kept = InMemorySpanExporter()
    provider = TracerProvider(sampling.WithinWork(ALWAYS_ON), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    client = provider.get_tracer("redis")
    with client.start_as_current_span("PING"):
        pass
    assert kept.get_finished_spans() == ()
    with telemetry.span("work"):
        for name, times in (("EVALSHA", 100), ("GET", 3)):
            for _ in range(times):
                with client.start_as_current_span(name):
                    pass
    names = [span.name for span in kept.get_finished_spans()]
    assert (names.count("EVALSHA"), names.count("GET")) == (sampling.MOST_ALIKE, 3)
    assert recorded()[0]["attributes"][sampling.OMITTED] == 100 - sampling.MOST_ALIKE


def test_opentelemetrys_own_api_gives_our_spans(recorded: Read) -> None:
    with trace.get_tracer("elsewhere").start_as_current_span("theirs"):
        logging.getLogger("x").debug("inside")
    assert [span["name"] for span in recorded()] == ["theirs"]
