"""One question is one connected trace: ingress, the real broker as a process, and three functions, over HTTP."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from knts import events, telemetry
from knts.cli.spans import Node, Span, read, tree, walk
from knts.clients.broker import Publisher
from knts.clients.redis import Redis
from knts.events import Event
from knts.runtime import EventFunction, Handler, Wiring
from tests.integration.broker_world import broker, broker_manifest, trigger_manifest, write_manifests

CORRELATION = "5" * 32
KEY = "a-key-of-this-test"
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"


def example(event_type: str) -> Any:
    return orjson.loads((EXAMPLES / f"{event_type}.json").read_bytes())["data"]


class Quiet(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, port: int) -> AsyncIterator[str]:
    server = Quiet(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing else
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


@contextlib.asynccontextmanager
async def function(name: str, handlers: Mapping[str, Handler], port: int) -> AsyncIterator[str]:
    """A function around these handlers, served as `knts.serve` does."""

    @contextlib.asynccontextmanager
    async def wire(_: Mapping[str, str]) -> AsyncIterator[Wiring]:
        yield Wiring(handlers)

    made = EventFunction(name, wire)

    async def answer(request: Request) -> Response:
        return await made(request)

    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    app.add_middleware(telemetry.ServerSpans, function=name)
    async with made.started({"KNTS_SIGNING_KEY": KEY}), listening(app, port) as url:
        yield url


@contextlib.asynccontextmanager
async def ingress(sink: str, port: int) -> AsyncIterator[str]:
    async with Publisher(sink, [KEY]) as publisher:

        async def ask(_: Request) -> Response:
            with telemetry.correlated(CORRELATION):
                data = example(events.ANSWER_REQUESTED)
                named = {"correlationid": CORRELATION, "tenant": "local"}
                await publisher.publish(events.new_event(events.ANSWER_REQUESTED, "/knts/ingress", data, **named))
            return Response(status_code=202)

        app = Starlette(routes=[Route("/v1/answers", ask, methods=["POST"])])
        app.add_middleware(telemetry.ServerSpans, function="ingress")
        async with listening(app, port) as url:
            yield url


@pytest.fixture
async def trace(redis: Redis, redis_url: str, free_port: Callable[[], int], tmp_path: Path) -> list[Span]:
    """The spans of one question, as `knts trace` reads them."""
    ended = asyncio.Event()

    async def search(event: Event) -> Event:
        await redis.get("something")
        return events.reply_to(event, events.PASSAGES_FOUND, "/knts/search", example(events.PASSAGES_FOUND))

    async def answer(event: Event) -> Event:
        with telemetry.model_call("small") as call:
            call.first_token()
        return events.reply_to(event, events.ANSWER_COMPLETED, "/knts/llm-answer", example(events.ANSWER_COMPLETED))

    async def remember(_: Event) -> None:
        ended.set()

    folder = tmp_path / "traces"
    table = {
        "search": {events.ANSWER_REQUESTED: search},
        "llm-answer": {events.PASSAGES_FOUND: answer},
        "cache-writer": {events.ANSWER_COMPLETED: remember},
    }
    telemetry.start("functions", {"KNTS_TRACE_DIR": str(folder), "LOG_LEVEL": "WARNING"})
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(telemetry.stop)
        triggers = []
        for name, handlers in table.items():
            url = await stack.enter_async_context(function(name, handlers, free_port()))
            triggers.append(trigger_manifest(name, url, filters=[{"exact": {"type": next(iter(handlers))}}]))
        write_manifests(tmp_path / "manifests", broker_manifest(), *triggers)
        port = free_port()
        running = await stack.enter_async_context(
            broker(redis_url, port, tmp_path / "manifests", KNTS_TRACE_DIR=str(folder))
        )
        url = await stack.enter_async_context(ingress(f"{running.url}/default/kn-ts", free_port()))
        async with httpx.AsyncClient() as http:  # not instrumented, as a browser is not
            assert (await http.post(f"{url}/v1/answers")).status_code == 202
        await asyncio.wait_for(ended.wait(), 20)
        await running.stop(signal.SIGTERM)
    return read(folder, CORRELATION)


def way_to(wanted: str, roots: list[Node]) -> list[str]:
    """Service and name of each span from the root to the span of that name."""
    path: list[str] = []
    for guides, node in walk(roots):
        path[len(guides) - 1 :] = [f"{node.span['service']}: {node.span['name']}"]
        if node.span["name"] == wanted:
            return path
    raise AssertionError(f"no span {wanted}")


async def test_a_question_is_one_connected_trace(trace: list[Span]) -> None:
    assert len({span["trace_id"] for span in trace}) == 1
    (root,) = tree(trace)
    assert (root.span["service"], root.span["name"]) == ("ingress", "POST /v1/answers")
    way = way_to("process knts.answer.completed.v1", [root])
    handlers = [step for step in way if ": process" in step]
    assert handlers == ["cache-writer: process knts.answer.completed.v1"]
    assert [step for step in way if step.startswith("broker: deliver")] == [
        "broker: deliver default/search",
        "broker: deliver default/llm-answer",
        "broker: deliver default/cache-writer",
    ]
    assert way[-2] == "cache-writer: POST /"


async def test_what_a_function_did_stands_below_its_event(trace: list[Span]) -> None:
    roots = tree(trace, fold=False)
    assert way_to("GET", roots)[-2:] == ["search: process knts.answer.requested.v1", "search: GET"]
    assert way_to("chat small", roots)[-2] == "llm-answer: process knts.passages.found.v1"


async def test_every_span_of_ours_carries_the_correlation_id(trace: list[Span]) -> None:
    without = [
        (span["service"], span["name"])
        for span in trace
        if span["attributes"].get("knts.correlation_id") != CORRELATION and span["kind"] != "client"
    ]
    assert without == []
    assert {span["error"] for span in trace} == {None}
