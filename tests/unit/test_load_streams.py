"""What the run of open streams is failed for, against an ingress of the test's own."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.load import streams
from tests.load.calls import Sample
from tests.load.held_model import HeldModel
from tests.load.sampling import Watch
from tests.load.streams import Crowd, Held, Stream, allow_descriptors, judge

WHOLE = (
    b'event: queued\ndata: {}\n\nevent: joined\ndata: {}\n\n: still here\n\nevent: delta\ndata: {"text":"Maren."}\n\n'
)
Answer = tuple[int, dict[str, str], bytes]
END = b"event: completed\ndata: {}\n\n"


@contextlib.asynccontextmanager
async def ingress(*answers: Answer) -> AsyncIterator[Crowd]:
    """A crowd of one before an ingress that gives these answers, one after the other."""
    left = list(answers)

    async def answer(request: web.Request) -> web.Response:
        status, headers, body = left.pop(0)
        return web.Response(status=status, headers=headers, body=body)

    app = web.Application()
    app.add_routes([web.post("/v1/answers", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as http:
            yield Crowd(http, [Stream()])
    finally:
        await runner.cleanup()


async def test_a_stream_is_followed_to_its_end() -> None:
    async with ingress((200, {}, WHOLE + END)) as crowd:
        (stream,) = crowd.streams
        await crowd.ask(stream)
    assert (stream.text, stream.beats, stream.last, stream.fault) == ("Maren.", 1, "completed", "")


async def test_who_is_told_to_come_later_comes_again() -> None:
    async with ingress((429, {"Retry-After": "0"}, b"{}"), (200, {}, WHOLE + END)) as crowd:
        await crowd.ask(crowd.streams[0])
        assert crowd.refused == 1
        assert crowd.streams[0].ended


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((500, {}, b"oh"), "answered 500: oh"),
        ((429, {}, b"later"), "answered 429: later"),
        ((200, {}, WHOLE), "ended without a last event"),
        ((200, {}, WHOLE + b"event: failed\ndata: {}\n\n"), "ended failed"),
    ],
)
async def test_a_stream_that_ends_otherwise_fails_the_run(
    answer: tuple[int, dict[str, str], bytes], fault: str
) -> None:
    async with ingress(answer) as crowd:
        await crowd.ask(crowd.streams[0])
        with pytest.raises(AssertionError, match=fault):
            await crowd.all(lambda stream: stream.ended, "ended")


async def test_a_stream_that_never_hears_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.05)
    async with ingress() as crowd:
        with pytest.raises(AssertionError, match="1 streams never heard"):
            await crowd.all(lambda stream: bool(stream.text), "heard")


async def test_a_stream_gives_its_place_to_the_next_when_it_has_joined() -> None:
    async with ingress((200, {}, WHOLE + END), (500, {}, b"")) as crowd:
        crowd.opening = asyncio.Semaphore(1)
        await crowd.ask(crowd.streams[0])
        await crowd.ask(Stream())
        assert not crowd.opening.locked()


def seen(*mib: float, lost: bool = False) -> Held:
    watch = Watch({"ingress": 1}, [Sample(at, "ingress", 0, size) for at, size in enumerate(mib)])
    watch.lost = {"ingress": 1.0} if lost else {}
    return Held(watch, [("before", "–", f"{mib[0]:.0f}", 16)])


async def judged(held: Held, *heard: Stream) -> list[str]:
    async with ingress() as crowd:
        crowd.streams = list(heard)
        return judge(held, crowd, HeldModel()).faults


async def test_a_run_passes_when_all_heard_the_same_within_the_memory_that_is_promised() -> None:
    assert await judged(seen(70, 500), Stream(text="a", last="completed"), Stream(text="a", last="completed")) == []


async def test_too_much_memory_a_lost_process_and_streams_that_differ_fail_it() -> None:
    done = Stream(text="a", last="completed")
    assert await judged(seen(70, 513, 80), done) == ["ingress took 513 MiB; at most 512 are promised"]
    assert await judged(seen(70, lost=True), done) == ["ingress did not live through the run"]
    assert "differ" in (await judged(seen(70), done, Stream(text="b", last="completed")))[0]
    assert "ended so" in (await judged(seen(70), done, Stream(text="a", last="failed")))[0]


def test_a_machine_that_allows_too_few_open_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(256, 1024)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    allow_descriptors(1000)
    assert limits[-1] == (1000, 1024)
    with pytest.raises(SystemExit, match="were not tried"):
        allow_descriptors(5500)
