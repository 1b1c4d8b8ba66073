"""Ordered Triggers keep the order of each key, through failures, poison and kill -9; other keys and Triggers go on."""

import asyncio
import contextlib
import itertools
import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from knts import events
from knts.events import Event
from tests.integration.broker_world import (
    FAST,
    PING,
    BrokerProcess,
    Delivery,
    ScriptedSubscriber,
    broker,
    broker_manifest,
    depth,
    eventually,
    subscriber,
    trigger_manifest,
    write_manifests,
)

Ports = Callable[[], int]
ORDERED = {"kafka.eventing.knative.dev/delivery.order": "ordered"}
RETRIES = 3


def step(key: str, number: int) -> Event:
    """Event `number` of a key; an empty key is none."""
    named = {"partitionkey": key} if key else {}
    return events.new_event(PING, f"/test/{key}", {"n": number}, id=f"{key}-{number}", **named)


def numbers(deliveries: Iterable[Delivery], key: str) -> list[int]:
    """The numbers of the events of a key, in the order in which they came."""
    return [
        delivery.event.payload["n"]
        for delivery in deliveries
        if delivery.event.attributes.get("partitionkey", "") == key
    ]


class Steps:
    """A subscriber's script: fails each event as often as told, and watches how many of a key it has at a time."""

    def __init__(self, failures: dict[str, list[int]], chance: random.Random) -> None:
        self.failures = failures
        self.chance = chance
        self.now: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)

    async def __call__(self, delivery: Delivery) -> int:
        key = delivery.event.attributes.get("partitionkey", "")
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        await asyncio.sleep(self.chance.random() * 0.01)
        self.now[key] -= 1
        left = self.failures.get(delivery.event.id)
        return left.pop(0) if left else 202


def expected(failures: dict[str, list[int]], key: str, count: int) -> list[int]:
    """The attempts at the events of a key: each as often as it fails and once more, or until it is given up."""
    attempts = {n: failures.get(f"{key}-{n}", []) for n in range(count)}
    return [
        n for n, failed in attempts.items() for _ in range(1 if 422 in failed else min(len(failed) + 1, RETRIES + 1))
    ]


def ordered_manifest(to: ScriptedSubscriber, script: Any, **annotations: str) -> dict[str, Any]:
    delivery = {**FAST, "retry": RETRIES, "deadLetterSink": {"uri": f"{to.url}/dead"}}
    named = {**ORDERED, **annotations}
    return trigger_manifest("t", to.answer("/t", script), delivery=delivery, annotations=named)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_each_key_keeps_its_order_whatever_fails(
    seed: int, redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    keys, count = [f"k{n}" for n in range(8)], 12
    published = [step(key, n) for n in range(count) for key in [*keys, ""]]
    outcomes: list[list[int]] = [[], [], [], [503], [500, 404], [422], [500] * (RETRIES + 1)]
    failures = {event.id: list(chance.choice(outcomes)) for event in published}
    wanted = {key: expected(failures, key, count) for key in [*keys, ""]}
    poisoned = sorted(name for name, failed in failures.items() if 422 in failed or len(failed) > RETRIES)
    script = Steps(failures, chance)
    async with subscriber() as to:
        parallelism = {"devbroker.kn-ts.dev/parallelism": str(chance.choice([2, 5, 20]))}
        write_manifests(tmp_path, broker_manifest(), ordered_manifest(to, script, **parallelism))
        async with broker(redis_url, free_port(), tmp_path) as running:
            for event in published:
                assert await running.post(event) == 202
            await to.received("/dead", len(poisoned))
            await running.settled(depth("t"), 0)
            await running.settled(depth("t", "dead-letter"), 0)
            assert await running.metric('knts_broker_turns_waiting{trigger="default/t"}') == 0
        assert {key: numbers(to.at("/t"), key) for key in keys} == {key: wanted[key] for key in keys}
        assert sorted(numbers(to.at("/t"), "")) == wanted[""]
        assert {script.most[key] for key in keys} == {1}
        assert to.most_at_once > 1
        assert sorted(delivery.event.id for delivery in to.at("/dead")) == poisoned


async def test_a_kill_at_any_moment_keeps_the_order(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    chance = random.Random(7)
    keys = [f"k{n}" for n in range(5)]
    accepted: dict[str, list[int]] = {key: [] for key in keys}
    failures = {f"{key}-{n}": [500] for key in keys for n in range(0, 400, 5)}

    async def publish(running: BrokerProcess, key: str, first: int) -> None:
        """One after the other, so that the order is known; what had no answer is not counted, and not sent again."""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            for number in range(first, first + 60):
                if await running.post(step(key, number)) == 202:
                    accepted[key].append(number)

    async with subscriber() as to:
        few = {"devbroker.kn-ts.dev/parallelism": "3"}  # fewer than keys, so that more waits than is taken
        write_manifests(tmp_path, broker_manifest(), ordered_manifest(to, Steps(failures, chance), **few))
        async with broker(redis_url, free_port(), tmp_path) as running:
            for turn in range(4):
                publishing = [asyncio.create_task(publish(running, key, turn * 100)) for key in keys]
                target = len(to.got) + chance.randrange(20, 120)
                await eventually(lambda target=target: len(to.got) >= target)
                await running.stop(signal.SIGKILL)
                await asyncio.gather(*publishing)
                await running.start()
            await running.settled(depth("t"), 0, within=30)
        for key in keys:
            came = numbers(to.at("/t"), key)
            assert came == sorted(came)
            assert set(accepted[key]) <= set(came)
            assert len(accepted[key]) > 20


async def test_a_poisoned_key_waits_and_goes_on_and_the_others_do_not_wait(
    redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    release = asyncio.Event()

    async def poison(delivery: Delivery) -> int:
        if delivery.event.id != "a-0":
            return 202
        if len([one for one in to.at("/t") if one.event.id == "a-0"]) > RETRIES:
            await release.wait()
        return 500

    async with subscriber() as to:
        write_manifests(tmp_path, broker_manifest(), ordered_manifest(to, poison))
        async with broker(redis_url, free_port(), tmp_path) as running:
            for n, key in itertools.product(range(3), "ab"):
                assert await running.post(step(key, n)) == 202
            await eventually(lambda: numbers(to.at("/t"), "b") == [0, 1, 2])
            await eventually(lambda: numbers(to.at("/t"), "a") == [0] * (RETRIES + 1))
            await running.settled('knts_broker_turns_waiting{trigger="default/t"}', 2)
            release.set()
            await running.settled(depth("t"), 0)
            [letter] = await to.received("/dead", 1)
        assert letter.event.id == "a-0"
        assert numbers(to.at("/t"), "a") == [0] * (RETRIES + 1) + [1, 2]


async def test_an_unordered_trigger_minds_no_key(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def gated(_: Delivery) -> int:
        await gate.wait()
        return 202

    async with subscriber() as to:
        write_manifests(tmp_path, broker_manifest(), trigger_manifest("t", to.answer("/t", gated)))
        async with broker(redis_url, free_port(), tmp_path) as running:
            assert set(await running.post_all([step("a", n) for n in range(5)])) == {202}
            await to.received("/t", 5)
            gate.set()
            await running.settled(depth("t"), 0)


async def test_an_order_that_is_asked_for_later_holds_for_what_waits(
    redis_url: str, free_port: Ports, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    one = {"devbroker.kn-ts.dev/parallelism": "1"}

    async def gated(_: Delivery) -> int:
        await gate.wait()
        return 202

    async with subscriber() as to:
        unordered = trigger_manifest("t", to.answer("/t", gated), annotations=one)
        write_manifests(tmp_path, broker_manifest(), unordered)
        async with broker(redis_url, free_port(), tmp_path) as running:
            for n in range(10):
                await running.post(step("a", n))
            await to.received("/t", 1)
            generation = (await running.ready())["generation"]
            script = Steps({}, random.Random(1))
            write_manifests(tmp_path, broker_manifest(), ordered_manifest(to, script))
            await running.generation(generation)
            gate.set()
            await running.settled(depth("t"), 0)
        assert numbers(to.at("/t"), "a") == list(range(10))
        assert script.most["a"] == 1


async def test_a_retry_does_not_wait_until_a_backlog_is_done(redis_url: str, free_port: Ports, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def failing_first(delivery: Delivery) -> int:
        await gate.wait()
        await asyncio.sleep(0.005)
        return 500 if len(to.got) == 1 else 202

    async with subscriber() as to:
        one = {"devbroker.kn-ts.dev/parallelism": "1"}
        manifest = trigger_manifest("t", to.answer("/t", failing_first), annotations=one)
        write_manifests(tmp_path, broker_manifest(), manifest)
        async with broker(redis_url, free_port(), tmp_path) as running:
            assert await running.post(step("a", 0)) == 202
            await to.received("/t", 1)
            assert set(await running.post_all([step("a", n) for n in range(1, 100)])) == {202}
            gate.set()
            await running.settled(depth("t"), 0, within=20)
        came = numbers(to.at("/t"), "a")
        assert came.count(0) == 2
        assert came[-1] != 0
