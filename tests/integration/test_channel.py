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


ANSWERED = [(channel.QUEUED, {"id": "a"}), (channel.DELTA, {"text": "yes"}), (channel.COMPLETED, {"answer": "yes"})]


async def test_what_is_answered_already_opens_and_ends_at_once(redis: Redis) -> None:
    frames = Channel(redis)
    ids = await frames.answered("a", ANSWERED, **WHO, cache="hit")
    stored = await frames.frames(channel.frames_key("a"))
    assert [(frame.id, frame.type, frame.data) for frame in stored] == [
        (entry_id, *frame) for entry_id, frame in zip(ids, ANSWERED, strict=True)
    ]
    ask = await frames.ask("a")
    assert ask == {**WHO, "cache": "hit", "status": "ended", "ended_by": "completed", "final": '{"answer":"yes"}'}
    assert await frames.append("a", channel.FAILED, {"reason": "late"}) == "ended"
    lives = [await redis.pttl(key("a")) for key in (channel.ask_key, channel.frames_key)]
    assert channel.STREAM_MS < lives[0] <= channel.FINAL_MS
    assert 0 < lives[1] <= channel.STREAM_MS


async def test_of_all_who_open_or_answer_an_ask_at_the_same_time_one_does(redis: Redis) -> None:
    frames = Channel(redis)
    for ask in map(str, range(20)):
        answering = [frames.answered(ask, ANSWERED, **WHO) for _ in range(5)]
        opening = [frames.open(ask, {"id": ask}, **WHO) for _ in range(5)]
        failing = [frames.append(ask, channel.FAILED, {"reason": "late"}) for _ in range(3)]
        mixed = [call for calls in zip(opening, answering, strict=True) for call in calls]
        outcomes = await asyncio.gather(*mixed, *failing)
        assert sum(map(bool, outcomes[:10])) == 1
        expected = [frame_type for frame_type, _ in ANSWERED] if any(outcomes[1:10:2]) else ["queued"]
        ended = ["failed"] if "written" in outcomes[10:] else []
        assert await frame_types(frames, ask) == expected + ended
