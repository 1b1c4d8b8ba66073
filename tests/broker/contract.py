"""The Broker contract, for whichever Broker the fixture `world` gives; the tables are in cases.py.

A test module of a Broker imports these tests and defines the fixture. All Brokers and Triggers are applied once,
before the first test.
"""

import base64
import http.client
import itertools
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.broker.cases import (
    EVENT,
    FAILED_TRIGGER,
    FILTERS,
    GIVEN_UP,
    MALFORMED,
    ORDER,
    REASONS,
    REPLY,
    REQUESTS,
    RETRIED,
    RETRY,
    FilterCase,
    RequestCase,
)
from tests.broker.subscriber import Got, Said, Subscriber, eventually

NAMESPACE = "contract"
FAST = {"retry": RETRY, "backoffPolicy": "exponential", "backoffDelay": "PT0.05S", "timeout": "PT10S"}
Manifest = dict[str, Any]


@dataclass
class World:
    """A Broker's ingress, what it can do, a subscriber that it reaches, and how a Trigger is edited there.

    `edit` takes a Trigger's name and the fields of its spec that change; it need not wait until that is in force.
    """

    url: str
    to: Subscriber
    can: frozenset[str]
    edit: Callable[[str, Mapping[str, Any]], None]

    def needs(self, capabilities: frozenset[str]) -> None:
        """Skip where this Broker lacks one of them."""
        if missing := capabilities - self.can:
            pytest.skip(f"this Broker lacks: {', '.join(sorted(missing))} (docs/broker-differences.md)")

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> int:
        """Send exactly this; the status."""
        address = urlsplit(self.url)
        assert address.hostname
        connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def post(self, case: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **attributes: str) -> str:
        """Publish an event to the Broker of that case; its id."""
        event_id = secrets.token_hex(8)
        named = {**EVENT, **{f"ce-{name}": value for name, value in attributes.items()}, "ce-id": event_id}
        assert self.request("POST", f"/{NAMESPACE}/{slug(case)}", {**named, **(headers or {})}, body) == 202
        return event_id


def slug(name: str) -> str:
    """The name of a case as Kubernetes takes one; a longer one would be cut in the name of the Broker's channel."""
    assert len(name) <= 40, name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def broker(case: str, **spec: Any) -> Manifest:
    """The Broker of a case."""
    meta = {"name": slug(case), "namespace": NAMESPACE, "annotations": {"messaging.knative.dev/async-handler": "true"}}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": meta, "spec": spec}


def trigger(case: str, name: str, url: str, **spec: Any) -> Manifest:
    """A Trigger of it; its subscriber is at /case/name."""
    where = f"{url}/{slug(case)}/{name}"
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": f"{slug(case)}-{name}", "namespace": NAMESPACE},
        "spec": {"broker": slug(case), "subscriber": {"uri": where}, "delivery": FAST, **spec},
    }


def dead(case: str, url: str, **changes: Any) -> Mapping[str, Any]:
    """A delivery whose dead letters come to /case/dead."""
    return {**FAST, "deadLetterSink": {"uri": f"{url}/{slug(case)}/dead"}, **changes}


def is_type(name: str) -> dict[str, Any]:
    return {"filters": [{"exact": {"type": name}}]}


STATUSES = "statuses"
REPLIES = "replies"
LOOP = "loop"
ODD = "odd replies"
SILENT = "silence"
WHOLE = "the delivery of the Broker"
FALLBACK = "the sink of the Broker"
EDITED = "edited"
ORDERED = "ordered"
BROKERS = [
    *(case.name for case in FILTERS),
    STATUSES,
    REPLIES,
    LOOP,
    ODD,
    SILENT,
    WHOLE,
    FALLBACK,
    EDITED,
    ORDERED,
]


def manifests(to: Subscriber, can: frozenset[str]) -> list[Manifest]:
    """All that the tests need of a Broker that can do this, its subscribers at `to`, whose scripts are set."""
    url, scripts = to.url, to.scripts
    made: list[Manifest] = []
    for case in FILTERS:
        if case.needs <= can:
            made += [broker(case.name), trigger(case.name, "t", url, **case.spec)]
    made.append(broker(STATUSES))
    for status in (*RETRIED, *GIVEN_UP):
        made.append(trigger(STATUSES, f"s{status}", url, delivery=dead(STATUSES, url)))
        scripts[f"/{STATUSES}/s{status}"] = [(status, {}, f"no {status}".encode())]
    made += [
        broker(REPLIES),
        trigger(REPLIES, "asked", url, **is_type("ask")),
        trigger(REPLIES, "told", url, **is_type("reply")),
    ]
    scripts[f"/{REPLIES}/asked"] = [reply]
    made += [broker(LOOP), trigger(LOOP, "t", url)]
    scripts[f"/{LOOP}/t"] = [reply]
    made.append(broker(ODD))
    for name, answer in MALFORMED.items():
        made.append(trigger(ODD, name, url, delivery=dead(slug(ODD), url)))
        scripts[f"/{slug(ODD)}/{name}"] = [answer, answer, 202]
    made += [
        broker(SILENT),
        trigger(SILENT, "gone", url, delivery=dead(SILENT, url), subscriber={"uri": "http://127.0.0.1:1/"}),
        trigger(SILENT, "slow", url, delivery=dead(SILENT, url, timeout="PT0.2S")),
        trigger(SILENT, "unmodified", url, delivery=dead(SILENT, url)),
    ]
    scripts[f"/{SILENT}/slow"] = [slow]
    scripts[f"/{SILENT}/unmodified"] = [304]
    own = dead(WHOLE, url, retry=0)
    made += [
        broker(WHOLE, delivery=dead(WHOLE, url, retry=4)),
        trigger(WHOLE, "inherits", url, delivery=None),
        trigger(WHOLE, "replaces", url, delivery=own),
    ]
    scripts[f"/{slug(WHOLE)}/inherits"] = scripts[f"/{slug(WHOLE)}/replaces"] = [503]
    made += [broker(FALLBACK, delivery=dead(FALLBACK, url)), trigger(FALLBACK, "t", url)]
    scripts[f"/{slug(FALLBACK)}/t"] = [503]
    made += [
        broker(EDITED),
        trigger(EDITED, "filter", url, **is_type("before")),
        trigger(EDITED, "delivery", url, **is_type("fails"), delivery=dead(EDITED, url, retry=1)),
    ]
    scripts[f"/{EDITED}/delivery"] = [503]
    ordered = trigger(ORDERED, "t", url)
    ordered["metadata"]["annotations"] = {"kafka.eventing.knative.dev/delivery.order": "ordered"}
    made += [broker(ORDERED), ordered]
    scripts[f"/{ORDERED}/t"] = [503, 202]
    for each in made:
        each["spec"] = {name: value for name, value in each["spec"].items() if value is not None}
    return made


_replies = itertools.count()


def slow(_: Got) -> Said:
    """An answer that comes too late."""
    time.sleep(1)
    return 202, {}, b""


def reply(_: Got) -> Said:
    """A reply, an event of its own each time."""
    return 200, {**REPLY, "ce-id": f"reply-{next(_replies)}", "Content-Type": "application/json"}, b'{"back": true}'


@pytest.mark.parametrize("case", FILTERS, ids=lambda case: case.name)
def test_a_trigger_gets_what_its_filter_wants_and_nothing_else(world: World, case: FilterCase) -> None:
    world.needs(case.needs)
    unwanted = [world.post(case.name, **attributes) for attributes in case.unwanted]
    wanted = [world.post(case.name, **attributes) for attributes in case.wanted]  # last: by then the others were seen
    path = f"/{slug(case.name)}/t"
    for event_id in wanted:
        world.to.received(path, 1, event_id)
    assert not {got.id for got in world.to.at(path)} & set(unwanted)


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_the_ingress_answers(world: World, case: RequestCase) -> None:
    status = case.status if case.needs in {"", *world.can} else case.otherwise
    path = case.path.format(broker=f"/{NAMESPACE}/{slug('no filter')}")
    assert world.request(case.method, path, case.headers, case.body) == status


def test_a_subscriber_gets_the_event_as_it_was_and_is_asked_for_a_reply(world: World) -> None:
    body = '{"n": "ä"}'.encode()
    event_id = world.post(
        "no filter", body, {"content-type": "application/json", "ce-tenant": "%C3%A4%20b"}, subject="s"
    )
    [got] = world.to.received("/no-filter/t", 1, event_id)
    assert got.body == body
    kept = ("ce-type", "ce-source", "ce-subject", "ce-specversion", "content-type")
    assert [got.headers[name] for name in kept] == ["a.b.c", "/s", "s", "1.0", "application/json"]
    assert got.headers["ce-tenant"].replace(" ", "%20") == "%C3%A4%20b"
    assert (got.headers["prefer"], got.headers["kn-namespace"]) == ("reply", NAMESPACE)
    assert "ce-knativearrivaltime" in got.headers
    assert "ce-knativebrokerttl" not in got.headers


def test_the_retry_table_holds_for_every_status(world: World) -> None:
    event_id = world.post(STATUSES)
    letters = world.to.received(f"/{STATUSES}/dead", len(RETRIED) + len(GIVEN_UP), event_id)
    attempts = {s: len(world.to.received(f"/{STATUSES}/s{s}", 1, event_id)) for s in (*RETRIED, *GIVEN_UP)}
    assert attempts == {**dict.fromkeys(RETRIED, RETRY + 1), **dict.fromkeys(GIVEN_UP, 1)}
    assert sorted(int(letter.headers["ce-knativeerrorcode"]) for letter in letters) == sorted((*RETRIED, *GIVEN_UP))


def test_a_dead_letter_tells_where_and_how_it_failed(world: World) -> None:
    event_id = world.post(STATUSES)
    letters = world.to.received(f"/{STATUSES}/dead", len(RETRIED) + len(GIVEN_UP), event_id)
    [letter] = [each for each in letters if each.headers["ce-knativeerrorcode"] == "422"]
    assert letter.headers["ce-knativeerrordest"].endswith(f"/{STATUSES}/s422")
    assert base64.b64decode(letter.headers["ce-knativeerrordata"]) == b"no 422"
    assert letter.headers["ce-type"] == "a.b.c"


def test_a_dead_letter_tells_which_trigger_failed_where_the_broker_can(world: World) -> None:
    event_id = world.post(STATUSES)
    letters = world.to.received(f"/{STATUSES}/dead", len(RETRIED) + len(GIVEN_UP), event_id)
    told = {letter.headers.get("ce-kntserrortrigger") for letter in letters}
    names = {f"{NAMESPACE}/{STATUSES}-s{status}" for status in (*RETRIED, *GIVEN_UP)}
    assert told == (names if FAILED_TRIGGER in world.can else {None})


def test_a_reply_goes_to_whom_it_concerns(world: World) -> None:
    event_id = world.post(REPLIES, type="ask")
    world.to.received(f"/{REPLIES}/asked", 1, event_id)
    [told] = world.to.received(f"/{REPLIES}/told")
    assert (told.headers["ce-type"], told.body) == ("reply", b'{"back": true}')
    assert len(world.to.at(f"/{REPLIES}/asked")) == 1


def test_a_loop_of_replies_ends_when_the_time_to_live_is_over(world: World) -> None:
    world.post(LOOP, knativebrokerttl="6")
    world.to.received(f"/{LOOP}/t", 5)
    world.post("no filter")  # time for one more, were there one
    assert len(world.to.at(f"/{LOOP}/t")) == 5


@pytest.mark.parametrize("name", MALFORMED)
def test_a_reply_that_is_no_event_is_a_failure_that_is_retried(world: World, name: str) -> None:
    event_id = world.post(ODD)
    world.to.received(f"/{slug(ODD)}/{name}", 3, event_id)


def test_what_nobody_answers_in_words_is_a_dead_letter_which_tells_why_where_the_broker_can(world: World) -> None:
    event_id = world.post(SILENT)
    letters = world.to.received(f"/{SILENT}/dead", 3, event_id)
    codes = sorted(letter.headers.get("ce-knativeerrorcode", "none") for letter in letters)
    assert codes == (["304", "503", "504"] if REASONS in world.can else ["500", "none", "none"])
    assert len(world.to.received(f"/{SILENT}/slow", 1, event_id)) == RETRY + 1


def test_a_triggers_delivery_replaces_its_brokers_wholesale(world: World) -> None:
    event_id = world.post(WHOLE)
    world.to.received(f"/{slug(WHOLE)}/dead", 2, event_id)
    assert len(world.to.received(f"/{slug(WHOLE)}/inherits", 1, event_id)) == 5
    assert len(world.to.received(f"/{slug(WHOLE)}/replaces", 1, event_id)) == 1


def test_a_trigger_without_a_dead_letter_sink_has_its_brokers(world: World) -> None:
    event_id = world.post(FALLBACK)
    world.to.received(f"/{slug(FALLBACK)}/dead", 1, event_id)
    assert len(world.to.received(f"/{slug(FALLBACK)}/t", 1, event_id)) == RETRY + 1


def test_events_of_one_key_come_in_order_however_often_they_fail(world: World) -> None:
    world.needs(frozenset({ORDER}))
    sent = [world.post(ORDERED, partitionkey="k") for _ in range(4)]
    got = [each.id for each in world.to.received(f"/{ORDERED}/t", 2 * len(sent))]
    assert got == [event_id for event_id in sent for _ in range(2)]


def test_an_edited_filter_is_in_force(world: World) -> None:
    path = f"/{EDITED}/filter"
    before = world.post(EDITED, type="before")
    world.to.received(path, 1, before)

    world.edit(f"{EDITED}-filter", is_type("after"))

    sent: list[str] = []

    def taken_up() -> bool:
        sent.append(world.post(EDITED, type="after"))
        return any(got.id in sent for got in world.to.at(path))

    eventually(taken_up, "the new filter passes what it wants")
    old = world.post(EDITED, type="before")
    new = world.post(EDITED, type="after")
    world.to.received(path, 1, new)
    assert old not in {got.id for got in world.to.at(path)}


def test_an_edited_delivery_is_in_force(world: World) -> None:
    path = f"/{EDITED}/delivery"
    before = world.post(EDITED, type="fails")
    world.to.received(f"/{EDITED}/dead", 1, before)
    assert len(world.to.received(path, 1, before)) == 2

    world.edit(f"{EDITED}-delivery", {"delivery": dead(EDITED, world.to.url, retry=4)})

    sent: list[str] = []

    def taken_up() -> bool:
        sent.append(world.post(EDITED, type="fails"))
        counts = Counter(got.id for got in world.to.at(path))
        return any(counts[event_id] == 5 for event_id in sent)

    eventually(taken_up, "five attempts instead of two")
    after = world.post(EDITED, type="fails")
    world.to.received(f"/{EDITED}/dead", 1, after)
    assert len(world.to.received(path, 1, after)) == 5
