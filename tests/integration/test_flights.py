"""One generation per question: who leads, who follows, and that nobody else writes. On a real Valkey."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from knts import channel
from knts.clients.channel import Channel
from knts.clients.flights import Flights
from knts.clients.redis import Redis
from knts.flights import FlightGone, Joined, LeaseLost
from knts.line import Place

KEY = "a" * 64
PLACE = Place("small", "t" * 16 + ":q", place=1)
WRITER = "digest of the model"
FAILED: dict[str, Any] = {"status": "failed", "reason": "given up"}
CANCELLED: dict[str, Any] = {"status": "cancelled"}
DONE: dict[str, Any] = {"status": "completed", "answer": "Denmark."}


@pytest.fixture
def flights(redis: Redis) -> Flights:
    return Flights(redis)


@pytest.fixture
def chan(redis: Redis) -> Channel:
    return Channel(redis)


async def opened(chan: Channel, ask_id: str, **fields: str) -> str:
    await chan.open(ask_id, {"id": ask_id}, tenant="local", owner="local", **fields)
    return ask_id


async def leader_of(flights: Flights, chan: Channel, ask_id: str = "a1") -> Joined:
    joined = await flights.join(KEY, await opened(chan, ask_id))
    assert joined.role == "leader"
    return joined


async def lose_lease(redis: Redis, joined: Joined) -> None:
    assert await redis.delete(f"knts:lease:{joined.flight}") == 1


async def flow(chan: Channel, joined: Joined) -> list[tuple[str, dict[str, Any]]]:
    return [(frame.type, frame.data) for frame in await chan.frames(channel.flow_key(joined.flight))]


class TestJoining:
    async def test_of_many_at_once_one_leads_and_all_read_the_same_flight(
        self, flights: Flights, chan: Channel
    ) -> None:
        asks = [await opened(chan, f"ask{number}") for number in range(60)]
        joined = await asyncio.gather(*(flights.join(KEY, ask) for ask in asks))
        assert Counter(each.role for each in joined) == {"leader": 1, "follower": 59}
        assert len({each.flight for each in joined}) == 1

    async def test_each_asker_learns_the_flight_once(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        follower = await flights.join(KEY, await opened(chan, "a2"))
        assert (await flights.join(KEY, "a2")).role == "follower"
        frames = await chan.frames(channel.frames_key("a2"))
        assert [frame.type for frame in frames] == ["queued", "joined"]
        assert frames[1].data == {"flight": leader.flight} == {"flight": follower.flight}
        asks = [await chan.ask(ask) or {} for ask in ("a1", "a2")]
        assert [ask["cache"] for ask in asks] == ["miss", "shared"]
        assert {ask["flight"] for ask in asks} == {leader.flight}

    async def test_another_key_is_another_flight(self, flights: Flights, chan: Channel) -> None:
        first = await leader_of(flights, chan)
        second = await flights.join("b" * 64, await opened(chan, "a2"))
        assert second.role == "leader"
        assert second.flight != first.flight

    @pytest.mark.parametrize("final", [DONE, {"status": "abstained"}])
    async def test_a_finished_flight_is_joined(self, flights: Flights, chan: Channel, final: dict[str, Any]) -> None:
        leader = await leader_of(flights, chan)
        await flights.end(leader.flight, leader.token, [], final)
        late = await flights.join(KEY, await opened(chan, "a2"))
        assert (late.role, late.flight, late.led) == ("finished", leader.flight, False)
        assert await flights.final(late.flight) == final
        assert (await chan.ask("a2") or {})["cache"] == "hit"

    @pytest.mark.parametrize("final", [FAILED, CANCELLED])
    async def test_a_flight_that_failed_is_not(self, flights: Flights, chan: Channel, final: dict[str, Any]) -> None:
        leader = await leader_of(flights, chan)
        await flights.end(leader.flight, leader.token, [], final)
        late = await flights.join(KEY, await opened(chan, "a2"))
        assert late.role == "leader"
        assert late.flight != leader.flight

    async def test_anew_joins_a_running_flight_but_no_finished_one(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        assert (await flights.join(KEY, await opened(chan, "a2"), anew=True)).role == "follower"
        await flights.end(leader.flight, leader.token, [], DONE)
        again = await flights.join(KEY, await opened(chan, "a3"), anew=True)
        assert again.role == "leader"
        assert (await flights.join(KEY, await opened(chan, "a4"))).flight == again.flight

    async def test_who_has_gone_does_not_join(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        await chan.append(await opened(chan, "a1"), channel.CANCELLED, {})
        assert (await flights.join(KEY, "a1")).role == "ended"
        assert (await flights.join(KEY, "unknown")).role == "gone"
        await redis.delete(channel.frames_key(await opened(chan, "a2")))
        assert (await flights.join(KEY, "a2")).role == "gone"
        assert await redis.keys("knts:flight*") == []


class TestRedelivery:
    async def test_while_the_lease_is_held_the_leaders_event_must_come_again(
        self, flights: Flights, chan: Channel
    ) -> None:
        await leader_of(flights, chan)
        again = await flights.join(KEY, "a1")
        assert again.role == "held"
        assert 0 < again.retry_after <= 5

    async def test_when_the_lease_is_gone_it_takes_over(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        leader = await leader_of(flights, chan)
        await lose_lease(redis, leader)
        again = await flights.join("another key, since the model changed", "a1")
        assert (again.role, again.flight, again.streamed) == ("leader", leader.flight, "")
        assert again.token != leader.token

    async def test_when_the_flight_is_finished_it_gives_the_same_reply(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        await flights.join(KEY, await opened(chan, "a2"))
        await flights.end(leader.flight, leader.token, [], FAILED)
        assert (await flights.join(KEY, "a1", anew=True)).led
        follower = await flights.join(KEY, "a2")
        assert (follower.role, follower.led) == ("finished", False)

    async def test_a_leader_who_left_still_serves_his_followers(
        self, flights: Flights, chan: Channel, redis: Redis
    ) -> None:
        leader = await leader_of(flights, chan)
        await flights.join(KEY, await opened(chan, "a2"))
        await chan.append("a1", channel.CANCELLED, {})
        await flights.leave(leader.flight, "a1")
        await lose_lease(redis, leader)
        assert (await flights.join(KEY, "a1")).role == "leader"
        await redis.delete(f"knts:lease:{leader.flight}")
        await flights.leave(leader.flight, "a2")
        assert (await flights.join(KEY, "a1")).role == "ended"

    async def test_an_expired_flight_is_not_made_again(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        leader = await leader_of(flights, chan)
        await redis.delete(channel.flow_key(leader.flight))
        assert (await flights.join(KEY, "a1")).role == "gone"
        with pytest.raises(FlightGone):
            await flights.append(leader.flight, leader.token, [("delta", {"text": "x"})])
        assert await redis.exists(channel.flow_key(leader.flight)) == 0


class TestTakingOver:
    async def test_an_asker_who_finds_no_leader_leads(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        old = await leader_of(flights, chan)
        await flights.append(old.flight, old.token, [("delta", {"text": "Den"})], writer=WRITER)
        await lose_lease(redis, old)
        new = await flights.join(KEY, await opened(chan, "a2"))
        assert (new.role, new.flight, new.streamed) == ("leader", old.flight, WRITER)
        assert (await flights.join(KEY, "a1")).role == "follower"  # the old leader's event is done: another answers

    async def test_a_zombie_writes_nothing(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        old = await leader_of(flights, chan)
        await flights.append(old.flight, old.token, [("delta", {"text": "Den"})])
        await lose_lease(redis, old)
        for attempt in ("before", "after"):
            with pytest.raises(LeaseLost):
                await flights.append(old.flight, old.token, [("delta", {"text": attempt})])
            with pytest.raises(LeaseLost):
                await flights.end(old.flight, old.token, [], DONE)
            with pytest.raises(LeaseLost):
                await flights.renew(old.flight, old.token, PLACE, CANCELLED)
            await flights.release(old.flight, old.token)
            new = await flights.join(KEY, await opened(chan, f"next-{attempt}"))
        assert new.role == "follower"
        assert await flow(chan, old) == [("delta", {"text": "Den"})]
        assert await flights.final(old.flight) is None

    async def test_one_of_many_takes_over_when_the_lease_runs_out(self, chan: Channel, redis: Redis) -> None:
        flights = Flights(redis, lease_ms=50)
        await leader_of(flights, chan)
        await asyncio.sleep(0.1)
        lasting = Flights(redis)
        asks = [await opened(chan, f"ask{number}") for number in range(30)]
        roles = Counter([(await each).role for each in [lasting.join(KEY, ask) for ask in asks]])
        assert roles == {"leader": 1, "follower": 29}

    async def test_another_event_of_the_leaders_ask_follows_and_the_same_one_waits(
        self, flights: Flights, chan: Channel, redis: Redis
    ) -> None:
        ask = await opened(chan, "a1")
        leader = await flights.join(KEY, ask, event_id="first")
        assert (await flights.join(KEY, ask, event_id="first")).role == "held"
        assert (await flights.join(KEY, ask, event_id="published again")).role == "follower"
        await lose_lease(redis, leader)
        assert (await flights.join(KEY, ask, event_id="published again")).role == "leader"
        assert (await flights.join(KEY, ask, event_id="first")).role == "follower"

    async def test_what_readers_have_is_known_to_who_takes_over(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        old = [("delta", {"text": "Nor"}), ("delta", {"text": "way"}), ("reset", {})]
        await flights.append(leader.flight, leader.token, old)
        assert await flights.text(leader.flight) == ("", 0)
        words = [("delta", {"text": text}) for text in ["Den", "mark"] * 1200]  # more than are read at once
        await flights.append(leader.flight, leader.token, [("queued", {"position": 1}), *words, ("citation", {})])
        text, began = await flights.text(leader.flight)
        assert text == "Denmark" * 1200
        first = next(
            frame for frame in (await chan.frames(channel.flow_key(leader.flight)))[3:] if frame.type == "delta"
        )
        assert began == int(first.id.split("-")[0])

    async def test_after_a_reset_nothing_counts_as_streamed(
        self, flights: Flights, chan: Channel, redis: Redis
    ) -> None:
        leader = await leader_of(flights, chan)
        await flights.append(leader.flight, leader.token, [("delta", {"text": "x"}), ("reset", {})])
        await flights.release(leader.flight, leader.token)
        assert not (await flights.join(KEY, "a1")).streamed


class TestEnding:
    async def test_the_last_frames_and_the_final_object_come_at_once_and_end_it(
        self, flights: Flights, chan: Channel
    ) -> None:
        leader = await leader_of(flights, chan)
        await flights.end(leader.flight, leader.token, [("citation", {"quote": "Denmark"})], DONE)
        assert await flow(chan, leader) == [("citation", {"quote": "Denmark"}), ("completed", DONE)]
        assert await flights.final(leader.flight) == DONE
        with pytest.raises(LeaseLost):
            await flights.append(leader.flight, leader.token, [("delta", {"text": "more"})])

    async def test_readers_are_woken(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        leader = await leader_of(flights, chan)
        async with redis.pubsub() as listener:
            await listener.subscribe(channel.flow_key(leader.flight))
            assert (await listener.get_message(timeout=5) or {})["type"] == "subscribe"
            await flights.append(leader.flight, leader.token, [("delta", {"text": "x"})])
            assert (await listener.get_message(timeout=5) or {})["type"] == "message"

    async def test_an_abandoned_flight_fails_its_followers(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        leader = await leader_of(flights, chan)
        await flights.join(KEY, await opened(chan, "a2"))
        assert await flights.abandon(leader.flight, "a2", FAILED) == "other"
        assert await flights.abandon(leader.flight, "a1", FAILED) == "held"
        await lose_lease(redis, leader)
        assert await flights.abandon(leader.flight, "a1", FAILED) == "ended"
        assert await flow(chan, leader) == [("failed", FAILED)]
        assert await flights.final(leader.flight) == FAILED
        assert await flights.abandon(leader.flight, "a1", FAILED) == "other"
        assert await flights.abandon("unknown", "a1", FAILED) == "gone"


class TestListeners:
    async def test_the_last_who_leaves_ends_the_flight(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        await flights.join(KEY, await opened(chan, "a2"))
        await flights.leave(leader.flight, "a1")
        assert await flights.renew(leader.flight, leader.token, PLACE, CANCELLED) == 1
        await flights.leave(leader.flight, "a2")
        assert await flights.renew(leader.flight, leader.token, PLACE, CANCELLED) == 0
        assert await flow(chan, leader) == [("cancelled", CANCELLED)]
        assert await flights.final(leader.flight) == CANCELLED
        with pytest.raises(LeaseLost):
            await flights.append(leader.flight, leader.token, [("delta", {"text": "late"})])

    async def test_unseen_listeners_count_as_gone_but_those_who_need_not_listen_stay(
        self, chan: Channel, redis: Redis
    ) -> None:
        flights = Flights(redis, listener_ms=50)
        leader = await leader_of(flights, chan)
        await flights.join(KEY, await opened(chan, "later", **{"async": "1"}))
        await flights.join(KEY, await opened(chan, "seen"))
        await asyncio.sleep(0.1)
        assert await flights.renew(leader.flight, leader.token, PLACE, CANCELLED) == 1
        await flights.seen(leader.flight, ["seen", "later", "who never joined"])
        assert await flights.renew(leader.flight, leader.token, PLACE, CANCELLED) == 2
        assert await redis.zscore(f"knts:askers:{leader.flight}", "later") == float("inf")

    async def test_a_flight_that_nobody_leads_is_told_to_one_listener_now_and_then(
        self, flights: Flights, chan: Channel, redis: Redis
    ) -> None:
        leader = await leader_of(flights, chan)
        assert not await flights.seen(leader.flight, ["a1"])
        await lose_lease(redis, leader)
        told = await asyncio.gather(*(flights.seen(leader.flight, ["a1"]) for _ in range(10)))
        assert told.count(True) == 1
        await redis.hset(f"knts:flight-info:{leader.flight}", "again", 1)  # long ago
        assert await flights.seen(leader.flight, ["a1"])

    async def test_one_that_its_leader_gave_up_is_not_since_its_event_comes_again(
        self, flights: Flights, chan: Channel, redis: Redis
    ) -> None:
        leader = await leader_of(flights, chan)
        await flights.release(leader.flight, leader.token)
        assert not await flights.seen(leader.flight, ["a1"])
        again = await flights.join(KEY, "a1")
        await lose_lease(redis, again)
        assert await flights.seen(leader.flight, ["a1"])

    async def test_one_that_has_ended_or_expired_is_not(self, flights: Flights, chan: Channel, redis: Redis) -> None:
        leader = await leader_of(flights, chan)
        await flights.end(leader.flight, leader.token, [], DONE)
        assert not await flights.seen(leader.flight, ["a1"])
        assert not await flights.seen("unknown", ["a1"])
        assert await redis.exists("knts:flight-info:unknown") == 0

    async def test_who_left_is_not_brought_back(self, flights: Flights, chan: Channel) -> None:
        leader = await leader_of(flights, chan)
        await flights.leave(leader.flight, "a1")
        await flights.seen(leader.flight, ["a1"])
        assert await flights.renew(leader.flight, leader.token, PLACE, CANCELLED) == 0


async def test_everything_about_a_flight_expires(flights: Flights, chan: Channel, redis: Redis) -> None:
    leader = await leader_of(flights, chan)
    await flights.append(leader.flight, leader.token, [("delta", {"text": "x"})])
    await flights.end(leader.flight, leader.token, [], DONE)
    lives = {name.decode(): await redis.pttl(name) for name in await redis.keys("knts:*")}
    assert len(lives) == 7
    assert all(0 < life <= channel.FINAL_MS for life in lives.values()), lives
