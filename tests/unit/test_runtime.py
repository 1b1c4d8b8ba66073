"""What the runtime answers to a delivery, by class: the table that a Knative Broker relies on."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from knts import events
from knts.errors import Permanent, Temporary
from knts.events import Event
from knts.runtime import EventFunction, Handler, Wiring
from knts.settings import SettingsError

KEY = "test-key"
ENV = {"KNTS_SIGNING_KEY": KEY, "KNTS_PRODUCER_TENANTS": "local,acme"}
DOCUMENT = {"id": "d", "version": 1, "title": "t", "text": "x"}
Send = Callable[..., Awaitable[httpx.Response]]


class ScriptedFunction:
    """A function under test: its handler records what it got and does what the test scripts."""

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.outcome: Event | Exception | None = None
        self.unready: Exception | None = None
        self.awaited: bool | None = None

    async def handle(self, event: Event) -> Event | None:
        self.got.append(event)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def ready(self) -> None:
        if self.unready:
            raise self.unready

    @contextlib.asynccontextmanager
    async def wire(self, env: Mapping[str, str]) -> AsyncIterator[Wiring]:
        handlers: dict[str, Handler] = {
            events.DOCUMENT_UPSERTED: self.handle,
            events.PASSAGES_FOUND: self.handle,
            events.ANSWER_REQUESTED: self.handle,
        }

        async def awaited(event: Event) -> bool:
            return bool(self.awaited)

        yield Wiring(handlers, ready=self.ready, awaited=None if self.awaited is None else awaited)


@pytest.fixture
def scripted() -> ScriptedFunction:
    return ScriptedFunction()


@pytest.fixture
async def client(scripted: ScriptedFunction) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(scripted) as http:
        yield http


@contextlib.asynccontextmanager
async def serving(scripted: ScriptedFunction) -> AsyncIterator[httpx.AsyncClient]:
    function = EventFunction("example", scripted.wire)

    async def endpoint(request: Any) -> Any:
        return await function(request)

    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "PUT", "DELETE"])])
    async with (
        function.started(ENV),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://function") as http,
    ):
        yield http


def upserted(data: Any = None, **attributes: str) -> Event:
    return events.new_event(events.DOCUMENT_UPSERTED, "/producer", data or DOCUMENT, **attributes)


def requested(**attributes: str) -> Event:
    event = events.new_event(events.ANSWER_REQUESTED, "/knts/ingress", {"question": "q", "groups": []}, **attributes)
    return events.signed(event, [KEY])


async def deliver(client: httpx.AsyncClient, event: Event) -> httpx.Response:
    headers, body = events.to_http(event)
    return await client.post("/", content=body, headers=headers)


async def test_no_reply_is_202_and_empty(client: httpx.AsyncClient, scripted: ScriptedFunction) -> None:
    response = await deliver(client, upserted())
    assert (response.status_code, response.content) == (202, b"")
    assert scripted.got[0].payload == DOCUMENT


async def test_a_reply_is_200_and_one_signed_event(client: httpx.AsyncClient, scripted: ScriptedFunction) -> None:
    cause = upserted(tenant="acme")
    data = {"id": "d", "version": 1, "chunks": 1, "content_hash": "0" * 64}
    scripted.outcome = events.reply_to(cause, events.DOCUMENT_INDEXED, "/knts/example", data)
    response = await deliver(client, cause)
    assert response.status_code == 200
    reply = events.from_http(response.headers.raw, response.content)
    events.check_signature(reply, [KEY])
    assert (reply.type, reply.tenant, reply.payload) == (events.DOCUMENT_INDEXED, "acme", data)


async def test_a_reply_that_breaks_its_schema_never_leaves_and_names_the_field(
    client: httpx.AsyncClient, scripted: ScriptedFunction
) -> None:
    scripted.outcome = events.new_event(events.DOCUMENT_INDEXED, "/knts/example", {"id": "d"})
    response = await deliver(client, upserted())
    assert response.status_code == 422
    assert "version" in response.text


@pytest.mark.parametrize(
    ("outcome", "status", "retry_after"),
    [
        (Permanent("no"), 422, None),
        (Temporary("later", retry_after=3), 503, "3"),
        (RuntimeError("secret detail"), 500, None),
    ],
)
async def test_a_failure_answers_by_its_class(
    client: httpx.AsyncClient,
    scripted: ScriptedFunction,
    outcome: Exception,
    status: int,
    retry_after: str | None,
) -> None:
    scripted.outcome = outcome
    response = await deliver(client, upserted())
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) <= 700
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("event", "status", "field"),
    [
        (upserted({"id": "d"}), 422, "version"),
        (upserted({**DOCUMENT, "version": "1"}), 422, "version"),
        (upserted({**DOCUMENT, "extra": 1}), 422, "extra"),
        (upserted({**DOCUMENT, "sections": [{"start": 0, "end": -1}]}), 422, "sections.0.end"),
        (upserted(tenant="other"), 422, "tenant"),
        (events.new_event("unknown.type", "/s", {}), 422, "type"),
        (events.new_event(events.PASSAGES_FOUND, "/s", {}), 422, "signature"),
        (requested(), 422, "tenant"),
        (Event({**requested(tenant="t").attributes, "tenant": "u"}, b'{"question":"q","groups":[]}'), 422, "signature"),
        (Event({**upserted().attributes, "datacontenttype": "text/plain"}, b"x"), 400, "datacontenttype"),
        (Event(upserted().attributes, b"{nope"), 400, "data"),
        (Event(upserted().attributes, b""), 400, "data"),
    ],
)
async def test_a_bad_event_is_refused_before_the_handler(
    client: httpx.AsyncClient, scripted: ScriptedFunction, event: Event, status: int, field: str
) -> None:
    response = await deliver(client, event)
    assert response.status_code == status
    assert response.json()["errors"][0]["field"] == field
    assert scripted.got == []


async def test_rubbish_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/", content=b"\xff\xfe")).status_code == 400
    assert (await client.post("/", content=b"x" * 2_000_000)).status_code == 413
    assert (await client.get("/")).status_code == 405
    assert (await client.post("/other", content=b"{}")).status_code == 405


async def test_a_structured_event_is_taken(client: httpx.AsyncClient, scripted: ScriptedFunction) -> None:
    body = events.to_structured(upserted())
    response = await client.post("/", content=body, headers={"content-type": events.STRUCTURED})
    assert response.status_code == 202
    assert scripted.got[0].payload == DOCUMENT


async def test_an_unsigned_document_gets_the_first_producer_tenant(
    client: httpx.AsyncClient, scripted: ScriptedFunction
) -> None:
    await deliver(client, upserted())
    await deliver(client, upserted(tenant="acme"))
    assert [event.tenant for event in scripted.got] == ["local", "acme"]


@pytest.mark.parametrize(
    ("expiry", "awaited", "worked"),
    [
        ("2020-01-01T00:00:00Z", False, False),
        ("2020-01-01T00:00:00Z", True, True),  # our clock is wrong
        ("2020-01-01T00:00:00Z", None, True),  # whatever it is, nobody needs to wait for it
        ("2220-01-01T00:00:00Z", False, True),  # nobody asks: the handler finds out
    ],
)
async def test_what_has_expired_is_worked_if_somebody_waits_all_the_same(
    scripted: ScriptedFunction, expiry: str, awaited: bool | None, worked: bool
) -> None:
    scripted.awaited = awaited
    async with serving(scripted) as client:
        response = await deliver(client, requested(tenant="t", expirytime=expiry))
    assert (response.status_code, bool(scripted.got)) == (202, worked)


async def test_health_routes(client: httpx.AsyncClient, scripted: ScriptedFunction) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    scripted.unready = Temporary("Redis is not available")
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["detail"]) == (503, "Redis is not available")
    assert (await client.get("/metrics")).headers["content-type"].startswith("text/plain")


async def test_a_missing_setting_stops_the_start() -> None:
    function = EventFunction("example", ScriptedFunction().wire)
    with pytest.raises(SettingsError, match="KNTS_SIGNING_KEY is not set"):
        async with function.started({}):
            pass
