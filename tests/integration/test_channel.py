"""Frames on a real Valkey: nothing after the end, nothing twice, nothing into what has expired."""

import asyncio

import orjson

from knts import channel
from knts.clients.channel import Channel
from knts.clients.redis import Redis, check_durable

WHO = {"tenant": "local", "owner": "local"}


async def frame_types(frames: Channel, ask: str) -> list[str]:
    return [frame.type for frame in await frames.frames(channel.frames_key(ask))]


async def test_an_ask_is_opened_once(redis: Redis) -> None:
    frames = Channel(redis)
    assert await frames.open("a", {"id": "a"}, **WHO, created=12)
    assert await frames.open("a", {"id": "a"}, **WHO) is None
    assert await frame_types(frames, "a") == ["queued"]
    ask = await frames.ask("a")
    assert ask is not None
    assert (ask["status"], ask["tenant"], ask["created"]) == ("open", "local", "12")
    assert await frames.ask("unknown") is None


async def test_a_frame_that_comes_once_is_not_written_by_a_redelivery(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    assert await frames.append("a", channel.PASSAGES, {"passages": []}, search_ms=3.5) == "written"
    assert await frames.append("a", channel.PASSAGES, {"passages": [1]}, search_ms=9) == "again"
    assert await frame_types(frames, "a") == ["queued", "passages"]
    ask = await frames.ask("a")
    assert ask is not None
    assert ask["search_ms"] == "3.5"


async def test_frames_that_repeat_are_all_written_in_order(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    for word in ("one", "two", "two"):
        assert await frames.append("a", channel.DELTA, {"text": word}, once=False) == "written"
    texts = [frame.data.get("text") for frame in await frames.frames(channel.frames_key("a"))]
    assert texts == [None, "one", "two", "two"]


async def test_nothing_follows_the_end_and_the_end_is_kept(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    assert await frames.append("a", channel.COMPLETED, {"answer": "yes"}) == "written"
    assert await frames.append("a", channel.COMPLETED, {"answer": "again"}) == "again"
    assert await frames.append("a", channel.FAILED, {"reason": "late"}) == "ended"
    assert await frame_types(frames, "a") == ["queued", "completed"]
    ask = await frames.ask("a")
    assert ask is not None
    assert (ask["status"], ask["ended_by"], orjson.loads(ask["final"])) == ("ended", "completed", {"answer": "yes"})


async def test_an_expired_stream_is_never_made_again(redis: Redis) -> None:
    frames = Channel(redis)
    assert await frames.append("a", channel.PASSAGES, {}) == "gone"
    await frames.open("a", {"id": "a"}, **WHO)
    await redis.delete(channel.frames_key("a"))
    assert await frames.append("a", channel.PASSAGES, {}) == "gone"
    assert not await redis.exists(channel.frames_key("a"))


async def test_appending_renews_the_stream_and_not_the_ask(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    await redis.pexpire(channel.frames_key("a"), 5000)
    await redis.pexpire(channel.ask_key("a"), 5000)
    await frames.append("a", channel.PASSAGES, {})
    assert await redis.pttl(channel.frames_key("a")) > 5000
    assert await redis.pttl(channel.ask_key("a")) <= 5000


async def test_of_many_ends_at_once_exactly_one_is_written(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    ends = [channel.COMPLETED, channel.FAILED, channel.CANCELLED, channel.ABSTAINED] * 10
    replies = await asyncio.gather(*(frames.append("a", end, {}) for end in ends))
    assert replies.count("written") == 1
    assert len(await frame_types(frames, "a")) == 2


async def test_every_append_wakes_who_listens(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    async with redis.pubsub() as listener:
        await listener.subscribe(channel.frames_key("a"))
        await frames.append("a", channel.PASSAGES, {})
        kinds = [await listener.get_message(timeout=2) for _ in range(2)]
    assert [message["type"] for message in kinds if message] == ["subscribe", "message"]


async def test_the_durable_server_is_fit_and_a_careless_one_is_named(redis: Redis, redis_cache: Redis) -> None:
    assert await check_durable(redis) == []
    unfit = " ".join(await check_durable(redis_cache))
    assert "maxmemory-policy is allkeys-lru, should be noeviction" in unfit
    assert "appendonly is no" in unfit


async def test_a_script_survives_a_server_that_has_forgotten_it(redis: Redis) -> None:
    frames = Channel(redis)
    await frames.open("a", {"id": "a"}, **WHO)
    assert await frames.append("a", channel.DELTA, {}, once=False) == "written"
    await redis.script_flush()
    assert await frames.append("a", channel.DELTA, {}, once=False) == "written"
    assert await frame_types(frames, "a") == ["queued", "delta", "delta"]
