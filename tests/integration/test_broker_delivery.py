"""The development broker, as a process of its own on a real Valkey, delivers as Knative's data plane does."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from knts.events import Event
from tests.integration.broker_world import (
    FAST,
    BrokerProcess,
    ScriptedSubscriber,
    broker,
    broker_manifest,
    depth,
    eventually,
    ping,
    replying,
    subscriber,
    trigger_manifest,
    write_manifests,
)


@dataclass
class World:
    """A broker, the folder of its manifests and the subscriber they name."""

    broker: BrokerProcess
    folder: Path
    to: ScriptedSubscriber

    def apply(self, *documents: dict[str, Any]) -> None:
        write_manifests(self.folder, broker_manifest(), *documents)

    async def applied(self, *documents: dict[str, Any]) -> None:
        """The same, once it is in force."""
        before = (await self.broker.ready())["generation"]
        self.apply(*documents)
        await self.broker.generation(before)


@pytest_asyncio.fixture
async def world(redis_url: str, free_port: Callable[[], int], tmp_path: Path) -> AsyncIterator[World]:
    write_manifests(tmp_path / "m", broker_manifest())
    async with subscriber() as to, broker(redis_url, free_port(), tmp_path / "m") as running:
        yield World(running, tmp_path / "m", to)


async def test_an_event_reaches_every_trigger_that_wants_it_and_no_other(world: World) -> None:
    await world.applied(
        trigger_manifest("one", f"{world.to.url}/one"),
        trigger_manifest("all", f"{world.to.url}/all", filters=None),
        trigger_manifest("other", f"{world.to.url}/other", filters=[{"exact": {"type": "test.pong"}}]),
    )

    assert await world.broker.post(ping(1, tenant="ä b")) == 202

    [one], [got] = await world.to.received("/one", 1), await world.to.received("/all", 1)
    assert one.event == got.event
    assert one.event.attributes["tenant"] == "ä b"
    assert one.event.payload == {"n": 1}
    assert "knativearrivaltime" in one.event.attributes
    assert "knativebrokerttl" not in one.event.attributes
    assert (one.headers["prefer"], one.headers["kn-namespace"]) == ("reply", "default")
    await world.broker.settled(depth("one"), 0)
    assert world.to.at("/other") == []


async def test_nobody_wants_it_and_it_is_accepted_and_counted(world: World) -> None:
    assert await world.broker.post(ping()) == 202
    assert await world.broker.metric('knts_broker_accepted_total{broker="default/kn-ts",matched="no"}') == 1


async def test_a_reply_goes_to_whom_it_concerns_with_one_less_to_live(world: World) -> None:
    pong = [{"exact": {"type": "test.pong"}}]
    await world.applied(
        trigger_manifest("one", world.to.answer("/one", replying("test.pong", {"back": True}))),
        trigger_manifest("two", f"{world.to.url}/two", filters=pong),
    )

    await world.broker.post(ping(1, correlationid="c1", knativebrokerttl="3"))

    [pong_got] = await world.to.received("/two", 1)
    assert pong_got.event.payload == {"back": True}
    assert pong_got.event.correlation_id == "c1"
    await world.broker.settled(depth("two"), 0)
    assert len(world.to.at("/one")) == 1


async def test_a_reply_loop_ends_when_its_time_to_live_is_over(world: World) -> None:
    await world.applied(trigger_manifest("loop", world.to.answer("/loop", replying("test.ping"))))

    await world.broker.post(ping(1, knativebrokerttl="6"))

    await world.broker.settled('knts_broker_discarded_total{trigger="default/loop",why="ttl"}', 1)
    assert len(world.to.at("/loop")) == 5
    assert await world.broker.metric(depth("loop")) == 0


RETRIED = [404, 408, 409, 429, 500, 501, 502, 503, 504, 599]
FATAL = [300, 302, 304, 400, 401, 402, 403, 405, 406, 410, 411, 413, 415, 418, 422, 423, 424, 425, 426, 428, 431, 451]


async def test_the_retry_table_is_exact_for_every_status(world: World) -> None:
    names = {status: f"s{status}" for status in (*RETRIED, *FATAL)}
    sink = {"deadLetterSink": {"uri": f"{world.to.url}/dead"}}
    await world.applied(
        *(
            trigger_manifest(name, world.to.answer(f"/{name}", (status, {}, b"no" if status != 304 else b"")),
                             delivery={**FAST, **sink})
            for status, name in names.items()
        )
    )  # fmt: skip

    await world.broker.post(ping(1))

    dead = await world.to.received("/dead", len(names))
    attempts = {status: len(world.to.at(f"/{name}")) for status, name in names.items()}
    assert attempts == {**dict.fromkeys(RETRIED, 3), **dict.fromkeys(FATAL, 1)}
    codes = sorted(int(letter.event.attributes["knativeerrorcode"]) for letter in dead)
    assert codes == sorted(names)


async def test_a_dead_letter_tells_who_failed_and_how(world: World) -> None:
    sink = {"deadLetterSink": {"uri": world.to.answer("/dead", 503, 404, 202)}}
    uri = world.to.answer("/bad", (422, {}, b"x" * 3000))
    await world.applied(trigger_manifest("bad", uri, delivery={**FAST, **sink}))

    await world.broker.post(ping(7, correlationid="c7"))

    letters = await world.to.received("/dead", 3)  # the sink too is tried again
    attributes = letters[-1].event.attributes
    assert attributes["knativeerrordest"] == uri
    assert attributes["knativeerrorcode"] == "422"
    assert base64.b64decode(attributes["knativeerrordata"]) == b"x" * 768
    assert attributes["kntserrortrigger"] == "default/bad"
    assert (attributes["id"], attributes["correlationid"]) == ("ping-7", "c7")
    assert letters[-1].event.payload == {"n": 7}
    await world.broker.settled(depth("bad", "dead-letter"), 0)
    assert await world.broker.metric(depth("bad")) == 0


MALFORMED = [
    (200, {}, b"OK"),
    (200, {"Content-Type": "application/json"}, b"{}"),
    (202, {}, b"accepted"),
    (200, {"Content-Type": "application/cloudevents+json"}, b'{"id": 1'),
    (200, {"ce-id": "1", "ce-source": "/x", "ce-specversion": "1.0"}, b""),
    (200, {"ce-id": "1", "ce-source": "/x", "ce-specversion": "1.0", "ce-type": "t", "ce-Bad-Name": "x"}, b""),
]


@pytest.mark.parametrize("answer", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_reply_that_is_no_event_is_a_failure_that_is_retried(world: World, answer: Any) -> None:
    await world.applied(trigger_manifest("odd", world.to.answer("/odd", answer, answer, 202)))
    await world.broker.post(ping())
    await world.to.received("/odd", 3)
    await world.broker.settled(depth("odd"), 0)


async def test_no_connection_and_a_time_out_are_retried(world: World) -> None:
    async def slow(_: Any) -> int:
        await asyncio.sleep(1)
        return 202

    sink = {"deadLetterSink": {"uri": f"{world.to.url}/dead"}}
    await world.applied(
        trigger_manifest("slow", world.to.answer("/slow", slow), delivery={**FAST, **sink, "timeout": "PT0.05S"}),
        trigger_manifest("gone", "http://127.0.0.1:1/", delivery={**FAST, **sink}),
    )

    await world.broker.post(ping())

    letters = await world.to.received("/dead", 2)
    codes = {
        letter.event.attributes["kntserrortrigger"]: letter.event.attributes["knativeerrorcode"] for letter in letters
    }
    assert codes == {"default/slow": "504", "default/gone": "503"}
    assert len(world.to.at("/slow")) == 3


async def test_retry_after_counts_only_where_it_is_allowed(world: World) -> None:
    busy = (503, {"Retry-After": "1"}, b"")
    await world.applied(
        trigger_manifest("heeds", world.to.answer("/heeds", busy, 202), delivery={**FAST, "retryAfterMax": "PT0.3S"}),
        trigger_manifest("ignores", world.to.answer("/ignores", busy, 202)),
    )

    await world.broker.post(ping())

    first, second = await world.to.received("/heeds", 2)
    assert second.at - first.at >= 0.29
    early, again = await world.to.received("/ignores", 2)
    assert again.at - early.at < second.at - first.at


async def test_a_poison_event_does_not_hold_up_the_others(world: World) -> None:
    async def by_number(delivery: Any) -> int:
        return 500 if delivery.event.payload["n"] == 0 else 202

    slow = {**FAST, "retry": 5, "backoffDelay": "PT60S"}
    annotations = {"devbroker.kn-ts.dev/parallelism": "1"}
    await world.applied(trigger_manifest("p", world.to.answer("/p", by_number), delivery=slow, annotations=annotations))

    await world.broker.post_all([ping(n) for n in range(20)])

    got = await world.to.received("/p", 20)
    assert {delivery.event.payload["n"] for delivery in got} == set(range(20))
    await world.broker.settled(depth("p"), 1)


async def test_no_more_deliveries_at_a_time_than_the_trigger_allows(world: World) -> None:
    async def a_while(_: Any) -> int:
        await asyncio.sleep(0.02)
        return 202

    annotations = {"devbroker.kn-ts.dev/parallelism": "3"}
    await world.applied(trigger_manifest("p", world.to.answer("/p", a_while), annotations=annotations))

    await world.broker.post_all([ping(n) for n in range(30)])

    got = await world.to.received("/p", 30)
    assert len({delivery.event.id for delivery in got}) == len(got) == 30
    assert world.to.most_at_once == 3


async def test_a_changed_manifest_is_taken_up_and_a_broken_one_is_not(world: World) -> None:
    await world.applied(trigger_manifest("t", f"{world.to.url}/first"))
    await world.broker.post(ping(1))
    await world.to.received("/first", 1)

    world.apply(trigger_manifest("t", f"{world.to.url}/second", filters=[{"cesql": "type = 'x'"}]))

    async def refused() -> bool:
        return "filters[0].cesql" in (await world.broker.ready()).get("manifests", "")

    await eventually(refused)
    await world.broker.post(ping(2))
    await world.to.received("/first", 2)

    await world.applied(trigger_manifest("t", f"{world.to.url}/second"), trigger_manifest("new", f"{world.to.url}/new"))
    await world.broker.post(ping(3))
    await world.to.received("/second", 1)
    assert "manifests" not in await world.broker.ready()


async def test_no_event_is_lost_while_a_delivery_is_edited(world: World) -> None:
    def failing(**changes: Any) -> dict[str, Any]:
        delivery = {**FAST, "retry": 0, "deadLetterSink": {"uri": f"{world.to.url}/dead"}, **changes}
        return trigger_manifest("t", world.to.answer("/t", 503), delivery=delivery)

    await world.applied(failing())
    sent = 0
    for retry in range(1, 5):
        before = (await world.broker.ready())["generation"]
        world.apply(failing(retry=retry))
        while (await world.broker.ready())["generation"] == before:
            assert await world.broker.post(ping(sent)) == 202
            sent += 1

    dead = await world.to.received("/dead", sent, within=30)
    assert {letter.event.id for letter in dead} == {f"ping-{number}" for number in range(sent)}


async def test_a_dead_letter_sink_that_is_taken_out_is_out_of_force(world: World) -> None:
    sink = {"deadLetterSink": {"uri": f"{world.to.url}/dead"}}
    failing = world.to.answer("/t", 422)
    await world.applied(trigger_manifest("t", failing, delivery={**FAST, **sink}))
    await world.broker.post(ping(1))
    await world.to.received("/dead", 1)

    await world.applied(trigger_manifest("t", failing, delivery=FAST))
    await world.broker.post(ping(2))
    await world.to.received("/t", 2)
    await world.broker.settled(depth("t"), 0)
    assert [letter.event.id for letter in world.to.at("/dead")] == ["ping-1"]


async def test_a_replay_goes_to_one_trigger_as_it_was_before_it_died(world: World) -> None:
    await world.applied(
        trigger_manifest("one", f"{world.to.url}/one"),
        trigger_manifest("two", f"{world.to.url}/two"),
    )
    letter: Event = ping(1, knativeerrorcode="422", knativeerrordest="http://x/", kntserrortrigger="default/one")

    assert await world.broker.post(letter, "/default/kn-ts/triggers/one") == 202
    assert await world.broker.post(letter, "/default/kn-ts/triggers/three") == 404

    [got] = await world.to.received("/one", 1)
    assert not [name for name in got.event.attributes if "error" in name]
    assert world.to.at("/two") == []
