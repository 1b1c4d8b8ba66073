"""The line before a model: tickets, fair shares, slots. On a real Valkey."""

import asyncio
from collections import Counter

import pytest

from knts import channel
from knts.clients.channel import Channel
from knts.clients.flights import Flights
from knts.clients.line import Line
from knts.clients.redis import Redis
from knts.errors import Busy
from knts.line import Place, Wanted, line_key, ticket_of

MODEL = "small:latest"
LINE = line_key(MODEL)
CANCELLED = {"status": "cancelled"}


@pytest.fixture
def line(redis: Redis) -> Line:
    return Line(redis)


@pytest.fixture
def chan(redis: Redis) -> Channel:
    return Channel(redis)


async def now(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds * 1000 + micros // 1000)


async def ask(
    chan: Channel, ask_id: str, question: str = "", *, tenant: str = "acme", most: int = 32, seconds: float = 60
) -> Place:
    """Somebody asks a question, one of his own where none is named. Raises Busy."""
    ticket = ticket_of(tenant, question or ask_id)
    deadline = await now(chan.redis) + int(seconds * 1000)
    wanted = Wanted(MODEL, ticket, most, deadline)
    assert await chan.open(ask_id, {"id": ask_id}, wanted=wanted, tenant=tenant, owner="o")
    [queued] = await chan.frames(channel.frames_key(ask_id))
    assert queued.data.pop("id") == ask_id
    held, slots = await chan.redis.hmget(f"{LINE}pace", "ms", "slots")
    place = Place(MODEL, ticket, queued.data.get("position", 0), int(held or 0), int(slots or 1))
    assert queued.data == place.told
    return place


async def waiting(redis: Redis) -> int:
    return int(await redis.zcard(f"{LINE}queue"))


class TestTickets:
    async def test_each_question_has_a_place_and_those_who_ask_the_same_share_it(self, chan: Channel) -> None:
        places = [await ask(chan, ask_id, question) for ask_id, question in zip("abcd", "xyxz", strict=True)]
        assert [place.place for place in places] == [0, 1, 0, 2]  # there is a slot for the first

    async def test_a_full_queue_says_when_to_come_back_and_opens_nothing(self, chan: Channel, redis: Redis) -> None:
        for number in range(4):
            await ask(chan, f"a{number}", most=4)
        with pytest.raises(Busy) as refused:
            await ask(chan, "late", most=4)
        assert refused.value.retry_after == 5
        await redis.hset(f"{LINE}pace", mapping={"ms": 6000, "slots": 2})
        with pytest.raises(Busy) as refused:
            await ask(chan, "late", most=4)
        assert refused.value.retry_after == 3
        assert await redis.exists(channel.ask_key("late"), channel.frames_key("late")) == 0
        assert (
            await ask(chan, "same", "a2", most=4)
        ).place == 1  # two have a slot to go to; who asks what waits already needs no place

    async def test_of_a_thousand_at_once_as_many_get_a_place_as_there_are(self, chan: Channel, redis: Redis) -> None:
        asked = [ask(chan, f"a{number}", most=32) for number in range(1000)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert Counter(type(one) for one in told) == {Place: 32, Busy: 968}
        assert await waiting(redis) == 32

    async def test_a_tenant_that_fills_the_queue_keeps_no_other_out(self, chan: Channel) -> None:
        for number in range(8):
            await ask(chan, f"greedy{number}", tenant="greedy", most=8)
        for number in range(4):
            await ask(chan, f"modest{number}", tenant="modest", most=8)
        for tenant in ("greedy", "modest"):
            with pytest.raises(Busy):
                await ask(chan, f"{tenant} more", tenant=tenant, most=8)
        await ask(chan, "third", tenant="third", most=8)

    async def test_tenants_take_turns(self, chan: Channel, line: Line) -> None:
        for number in range(3):
            await ask(chan, f"greedy{number}", tenant="greedy")
        assert (await ask(chan, "modest0", tenant="modest")).place <= 2
        assert (await ask(chan, "modest1", tenant="modest")).place <= 4
        places = {
            name: Place(MODEL, ticket_of(name[:-1], name), 1)
            for name in ("greedy0", "greedy1", "greedy2", "modest0", "modest1")
        }
        served = []
        while places:
            now_ = {name: await line.slot(place, name, 1) for name, place in places.items()}
            [name] = [name for name, place in now_.items() if place.place == 0]
            served.append(name[:-1])
            await line.done(places.pop(name), name)
        assert served in (
            ["greedy", "modest", "greedy", "modest", "greedy"],
            ["greedy", "modest", "modest", "greedy", "greedy"],
            ["modest", "greedy", "modest", "greedy", "greedy"],
            ["modest", "greedy", "greedy", "modest", "greedy"],
        )

    async def test_nobody_gets_a_place_whose_answer_would_come_too_late(self, chan: Channel, redis: Redis) -> None:
        await redis.hset(f"{LINE}pace", mapping={"ms": 10_000, "slots": 1})
        with pytest.raises(Busy):
            await ask(chan, "hurried", seconds=5)
        assert (await ask(chan, "first", seconds=15)).place == 0
        assert (await ask(chan, "second", seconds=30)).expected_ms == 10_000
        with pytest.raises(Busy):
            await ask(chan, "third", seconds=30)
        assert (await ask(chan, "patient", seconds=40)).place == 2


class TestLeaving:
    @pytest.mark.parametrize("how", ["append", "finish", "end", "cancel", "abandon"])
    async def test_the_end_of_an_ask_or_of_its_flight_gives_its_ticket_up(
        self, chan: Channel, redis: Redis, how: str
    ) -> None:
        await ask(chan, "a")
        flights = Flights(redis)
        if how == "append":
            await chan.append("a", "cancelled", CANCELLED)
        elif how == "finish":
            await chan.finish("a", [], "failed", {})
        else:
            led = await flights.join("key", "a")
            assert await waiting(redis) == 1
            if how == "end":
                await flights.end(led.flight, led.token, [], {"status": "completed"})
            elif how == "cancel":
                await flights.leave(led.flight, "a")
                assert await flights.renew(led.flight, led.token, place("a"), CANCELLED) == 0
            else:
                await flights.release(led.flight, led.token)
                assert await flights.abandon(led.flight, "a", {"status": "failed"}) == "ended"
        assert await waiting(redis) == 0
        assert await redis.keys("knts:riders:*") == []

    async def test_a_ticket_lives_as_long_as_anybody_rides_on_it(self, chan: Channel, redis: Redis) -> None:
        for ask_id in "abc":
            await ask(chan, ask_id, "same")
        for ask_id, left in (("b", 1), ("a", 1), ("c", 0)):
            await chan.append(ask_id, "cancelled", CANCELLED)
            assert await waiting(redis) == left

    async def test_who_follows_or_finds_an_answer_gives_it_up_and_who_leads_keeps_it(
        self, chan: Channel, redis: Redis
    ) -> None:
        flights = Flights(redis)
        for ask_id in ("leader", "follower"):
            await ask(chan, ask_id)
        leader = await flights.join("key", "leader")
        assert await waiting(redis) == 2
        assert (await flights.join("key", "follower")).role == "follower"
        assert await waiting(redis) == 1
        await flights.end(leader.flight, leader.token, [], {"status": "completed"})
        await ask(chan, "late")
        assert await waiting(redis) == 1
        assert (await flights.join("key", "late")).role == "finished"
        assert await waiting(redis) == 0

    async def test_it_ends_with_the_deadline_whoever_died(self, chan: Channel, redis: Redis) -> None:
        await ask(chan, "a", seconds=0.2)
        await asyncio.sleep(0.3)
        await ask(chan, "b")
        assert await redis.zrange(f"{LINE}queue", 0, -1) == [ticket_of("acme", "b").encode()]
        assert await redis.keys("knts:riders:*") == [f"knts:riders:{ticket_of('acme', 'b')}".encode()]


def place(name: str, tenant: str = "acme") -> Place:
    return Place(MODEL, ticket_of(tenant, name), place=1)


class TestSlots:
    async def test_there_are_never_more_holders_than_slots_and_the_first_come_first(
        self, line: Line, chan: Channel
    ) -> None:
        names = [f"t{number}" for number in range(6)]
        for name in names:
            await ask(chan, name)
        assert [(await line.slot(place(name), name, 2)).place for name in names] == [0, 0, 1, 2, 3, 4]
        await line.done(place("t0"), "t0")
        assert (await line.slot(place("t5"), "t5", 2)).place == 3  # not his turn yet
        assert [(await line.slot(place(name), name, 2)).place for name in ("t2", "t3")] == [0, 1]

    async def test_many_at_once(self, line: Line, chan: Channel) -> None:
        names = [f"t{number}" for number in range(32)]
        await asyncio.gather(*(ask(chan, name) for name in names))
        places = await asyncio.gather(*(line.slot(place(name), name, 3) for name in names))
        assert sum(1 for each in places if each.place == 0) == 3

    async def test_a_ticket_whose_leader_is_not_there_keeps_nobody_waiting(self, line: Line, chan: Channel) -> None:
        for name in ("on its way", "here"):
            await ask(chan, name)
        assert (await line.slot(place("here"), "here", 1)).place == 0

    async def test_who_dies_frees_his_slot_and_keeps_nobody_waiting(self, chan: Channel, redis: Redis) -> None:
        for name in ("holder", "dead", "next"):
            await ask(chan, name)
        mortal = Line(redis, lease_ms=50)
        assert [(await mortal.slot(place(name), name, 1)).place for name in ("holder", "dead")] == [0, 1]
        await asyncio.sleep(0.1)
        assert (await Line(redis).slot(place("next"), "next", 1)).place == 0

    async def test_a_renewing_leader_keeps_his_slot(self, chan: Channel, redis: Redis) -> None:
        for name in ("a", "b"):
            await ask(chan, name)
        flights, line = Flights(redis, lease_ms=400), Line(redis, lease_ms=400)
        leader = await flights.join("key", "a")
        taken = await line.slot(place("a"), leader.token, 1)
        assert taken.place == 0
        for _ in range(6):
            await asyncio.sleep(0.1)
            await flights.renew(leader.flight, leader.token, taken, CANCELLED)
        assert (await line.slot(place("b"), "b", 1)).place == 1

    async def test_a_slot_that_is_asked_for_again_is_the_same(self, line: Line, chan: Channel) -> None:
        await ask(chan, "a")
        assert [(await line.slot(place("a"), "token", 2)).place for _ in range(3)] == [0, 0, 0]
        assert (await ask(chan, "a again", "a")).place == 0  # what is being written needs no place

    async def test_who_has_no_ticket_any_more_stands_in_front(self, line: Line, chan: Channel) -> None:
        for name in ("holder", "b", "c"):
            await ask(chan, name)
            await line.slot(place(name), name, 1)
        assert (await line.slot(place("took over"), "took over", 1)).place == 1

    async def test_but_a_ticket_given_up_gets_its_own_place_again(self, line: Line, chan: Channel) -> None:
        for name in ("holder", "b", "c"):
            await ask(chan, name)
            await line.slot(place(name), name, 1)
        was = await line.slot(place("c"), "c", 1)
        await chan.append("c", "cancelled", CANCELLED)  # its asker left; a follower of its flight still waits
        assert (await line.slot(was, "c", 1)).place == 2

    async def test_models_have_slots_of_their_own(self, line: Line) -> None:
        assert (await line.slot(Place("one", "t"), "a", 1)).place == (await line.slot(Place("two", "t"), "b", 1)).place

    async def test_how_long_a_slot_is_held_is_learnt(self, line: Line, chan: Channel) -> None:
        for name in ("a", "b", "c", "d"):
            await ask(chan, name)
        for name, held in (("a", 1000), ("b", 2000), ("c", 0)):
            await line.slot(place(name), name, 1)
            await line.done(place(name), name, held)
        assert (await line.slot(place("d"), "d", 1)).held_ms == 1200
        assert (await ask(chan, "e")).told == {"position": 1, "expected_ms": 1200}


class TestSpareSlots:
    async def test_a_short_call_has_a_slot_that_nobody_wants_and_gives_it_back(
        self, line: Line, chan: Channel, redis: Redis
    ) -> None:
        await ask(chan, "a")
        await redis.hset(f"{LINE}pace", mapping={"ms": 900, "slots": 1})
        async with line.spare(MODEL, 60) as free:
            assert free
            assert (await line.slot(place("a"), "a", 1)).place == 1
        told = await line.slot(place("a"), "a", 1)
        assert (told.place, told.held_ms) == (0, 900)  # what was short says nothing of how long answers take

    async def test_it_has_none_while_all_are_taken_and_leaves_no_trace(
        self, line: Line, chan: Channel, redis: Redis
    ) -> None:
        await ask(chan, "a")
        await line.slot(place("a"), "a", 1)
        before = {key: await redis.dump(key) for key in await redis.keys("*")}
        async with line.spare(MODEL, 60) as free:
            assert not free
            assert {key: await redis.dump(key) for key in await redis.keys("*")} == before
        assert (await line.slot(place("b"), "b", 1)).place == 1

    async def test_it_overtakes_no_leader_who_waits(self, line: Line, chan: Channel) -> None:
        for name in ("a", "b"):
            await ask(chan, name)
            await line.slot(place(name), name, 1)
        await line.done(place("a"), "a")  # the slot is b's, who has not come back for it yet
        async with line.spare(MODEL, 60) as free:
            assert not free

    async def test_many_at_once_have_no_more_than_there_are(self, line: Line, redis: Redis) -> None:
        await redis.hset(f"{LINE}pace", mapping={"slots": 3})
        gone = asyncio.Event()

        async def call() -> bool:
            async with line.spare(MODEL, 60) as free:
                if free:
                    await gone.wait()
                return free

        calls = [asyncio.create_task(call()) for _ in range(32)]
        done, pending = set(), set(calls)
        while len(done) < 29:
            more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert not any(each.result() for each in done)
        gone.set()
        assert all(await asyncio.gather(*pending))

    async def test_who_dies_frees_it(self, line: Line, redis: Redis) -> None:
        async with line.spare(MODEL, 0.05) as free:
            assert free
            await asyncio.sleep(0.1)
            async with line.spare(MODEL, 60) as again:
                assert again

    async def test_a_model_is_the_same_with_its_tag_or_without(self, line: Line) -> None:
        async with line.spare("small", 60) as free, line.spare("small:latest", 60) as again:
            assert (free, again) == (True, False)
