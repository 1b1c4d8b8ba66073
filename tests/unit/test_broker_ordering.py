"""Ordered delivery: one of a key at a time, the oldest first, whatever happens to the others."""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from knts.devbroker.entries import Entry
from knts.devbroker.lanes import Lane
from knts.devbroker.manifests import Trigger
from knts.devbroker.ordering import Order, place
from knts.events import Event

KEYS = st.sampled_from(["", "a", "b", "c"])


class Keeping(RuleBasedStateMachine):
    """Entries enter by age and leave when they went; beside it the plainest model: a list for each key."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.queues: dict[str, list[str]] = {"a": [], "b": [], "c": []}
        self.going: list[str] = []
        self.count = 0

    @rule(key=KEYS, step=st.integers(1, 9))
    def enter(self, key: str, step: int) -> None:
        self.count += step
        entry_id = f"{self.count // 7}-{self.count % 7}"
        goes = self.order.enter(entry_id, key)
        if key:
            self.queues[key].append(entry_id)
        assert goes is (not key or self.queues[key] == [entry_id])
        if goes:
            self.going.append(entry_id)

    @precondition(lambda self: self.going)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        entry_id = data.draw(st.sampled_from(self.going))
        self.going.remove(entry_id)
        queue = next((queue for queue in self.queues.values() if entry_id in queue), [entry_id])
        assert queue.pop(0) == entry_id
        following = self.order.leave(entry_id)
        assert following == (queue[0] if queue else None)
        if following:
            self.going.append(following)

    @invariant()
    def the_rest_waits(self) -> None:
        waiting = [entry_id for queue in self.queues.values() for entry_id in queue[1:]]
        assert self.order.waiting() == sorted(waiting, key=place)
        assert len(self.order) == len(waiting)


TestKeeping = Keeping.TestCase


def test_an_older_entry_that_is_found_late_goes_before_those_that_wait() -> None:
    order = Order()
    assert order.enter("5-0", "a")
    assert not order.enter("10-0", "a")
    assert not order.enter("9-0", "a")
    assert not order.enter("10-1", "a")
    assert [order.leave("5-0"), order.leave("9-0"), order.leave("10-0"), order.leave("10-1")] == [
        "9-0",
        "10-0",
        "10-1",
        None,
    ]
    assert order.enter("11-0", "a")


def trigger(*, ordered: bool) -> Trigger:
    return Trigger("default", "kn-ts", "t", "http://s/", parallelism=4, ordered=ordered)


def lane(*, ordered: bool, suspect: bool = False) -> Lane:
    made = Lane("stream", trigger(ordered=ordered), dead=False)
    made.follow(made.trigger)
    made.suspect = suspect
    return made


def entry(entry_id: str, key: str = "a") -> Entry:
    attributes = {"partitionkey": key} if key else {}
    return Entry(entry_id, Event(attributes, b""), "")


def test_a_lane_that_may_not_know_an_older_entry_starts_none_and_looks_again() -> None:
    unsure = lane(ordered=True, suspect=True)
    assert (unsure.free, unsure.reserve(), unsure.admit(entry("1-0"))) == (0, False, False)
    unsure.suspect, unsure.recovering = False, True
    assert not unsure.admit(entry("2-0"))
    assert unsure.suspect
    assert unsure.known == set()


def test_an_unordered_lane_goes_on_while_it_looks() -> None:
    sure = lane(ordered=False, suspect=True)
    assert sure.reserve()
    assert sure.admit(entry("1-0"))
    assert sure.admit(entry("2-0"))
    assert not sure.admit(entry("2-0"))


def test_the_dead_letters_of_an_ordered_trigger_are_in_no_order() -> None:
    dead = Lane("stream", trigger(ordered=True), dead=True)
    dead.follow(dead.trigger)
    assert dead.order is None


def test_a_done_entry_makes_the_next_of_its_key_due() -> None:
    ordered = lane(ordered=True)
    assert [ordered.admit(entry(f"{n}-0", key)) for n, key in enumerate("aab")] == [True, False, True]
    ordered.forget("0-0")
    assert list(ordered.due) == ["1-0"]
    ordered.forget("2-0")
    assert list(ordered.due) == ["1-0"]


async def test_an_order_that_ceases_sets_free_what_waited() -> None:
    ordered = lane(ordered=True)
    for n, key in enumerate("aabab"):
        ordered.admit(entry(f"{n}-0", key))
    ordered.follow(trigger(ordered=False))
    assert (ordered.order, list(ordered.due)) == (None, ["1-0", "3-0", "4-0"])


async def test_an_order_that_is_new_forgets_what_waited_so_that_it_is_found_in_order() -> None:
    unordered = lane(ordered=False)
    for n in range(3):
        unordered.admit(entry(f"{n}-0"))
    unordered.due.append("1-0")
    timer = asyncio.get_running_loop().call_later(60, print)
    unordered.timers["2-0"] = timer
    unordered.follow(trigger(ordered=True))
    assert timer.cancelled()
    assert (unordered.known, unordered.suspect, list(unordered.due), unordered.timers) == ({"0-0"}, True, [], {})
