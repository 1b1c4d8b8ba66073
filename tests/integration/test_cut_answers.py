"""Answers of Ollama, Typesense and Redis that end too early, at every byte: what is cut is never taken for whole.

The servers are real. Where a proxy on the way has put the rest into a sound HTTP answer, which no client can tell from
a whole one by its framing, what the real server said is replayed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from knts import events
from knts.clients.ollama import Ollama, OllamaLimits
from knts.clients.records import Records
from knts.clients.redis import Redis, connected
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.errors import IndexUnavailable, Temporary
from knts.lookup import Lookup, Scope
from knts.settings import OllamaServer, TypesenseServer
from tests.answering import Desk, desk
from tests.faults.proxy import NONE, Fault, Proxy, split
from tests.integration.indexing import Parts, opened, upserted

SCOPE = Scope("t")

UNTIRING = OllamaLimits(failures=100_000)  # no breaker comes between the cuts


@pytest.fixture
async def stream(ollama_server: OllamaServer) -> bytes:
    """What the packaged model writes, line by line, to its `done: true`."""
    messages = [{"role": "user", "content": "Where is Elsinore?"}]
    asked = {"model": ollama_server.model, "messages": messages, "options": {"num_predict": 3, "seed": 1}}
    async with aiohttp.ClientSession() as http, http.post(f"{ollama_server.url}/api/chat", json=asked) as response:
        said = await response.read()
    *texts, last = map(json.loads, said.splitlines())
    assert [last["done"], *(line["done"] for line in texts)] == [True] + [False] * len(texts)
    assert len([line for line in texts if line["message"]["content"].strip()]) > 1
    return said


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache, limits=UNTIRING, tries=1) as made:
        yield made


class TestOllama:
    @pytest.mark.timeout(400)
    async def test_a_stream_that_ends_at_any_byte_before_it_is_done_is_no_answer(self, at: Desk, stream: bytes) -> None:
        for cut in range(len(stream)):
            at.ollama.scripts = [[stream[:cut]]]
            await self.fails(at, cut, begun=b"\n" in stream[:cut])
        at.ollama.scripts = [[stream]]
        reply = await at.ask("whole", cache="off")
        assert reply is not None
        assert reply.type == events.ANSWER_COMPLETED

    @pytest.mark.timeout(400)
    async def test_a_connection_that_ends_at_any_byte_is_no_answer(self, at: Desk, stream: bytes) -> None:
        """Here the cuts are of what TCP carries: the head and the frames of the HTTP answer too."""
        at.ollama.scripts = [[line + b"\n" for line in stream.splitlines()]]
        async with (
            Proxy(split(at.ollama.url)).running() as proxy,
            Ollama(OllamaServer(url=f"http://127.0.0.1:{proxy.port}", model="small"), UNTIRING) as ollama,
        ):
            at.tools = replace(at.tools, models=ollama)
            await ollama.model()  # and its connection is kept, and not asked for the model again
            outcomes: list[str] = []
            for cut in range(0, 10_000, 2):
                await proxy.switch(Fault(cut=cut))
                outcomes.append(await self.outcome(at, f"cut{cut}"))
                if outcomes[-1] == "completed":
                    break
            assert set(outcomes[:-1]) == {"temporary", "failed"}
            assert outcomes[-1] == "completed"
            assert len(outcomes) * 2 > len(stream)

    async def fails(self, at: Desk, cut: int, *, begun: bool) -> None:
        """Tried again where nothing was streamed, else told as failed: neither can be cached."""
        outcome = await self.outcome(at, f"cut{cut}")
        assert outcome == ("failed" if begun else "temporary"), f"cut at byte {cut}"

    async def outcome(self, at: Desk, ask_id: str) -> str:
        try:
            reply = await at.ask(ask_id, cache="off")
        except Temporary:
            assert await at.types(ask_id) == []
            return "temporary"
        assert reply is not None
        final = await at.final(ask_id)
        assert reply.type == f"knts.answer.{final['status']}.v1"
        assert final["answer"] == await at.text(ask_id)
        return str(final["status"])


@pytest.fixture
async def parts(redis: Redis, typesense_server: TypesenseServer) -> AsyncIterator[Parts]:
    """The parts of index-document, with three documents indexed."""
    async with opened(redis, typesense_server) as made:
        for number in range(3):
            await made.deliver(upserted(f"d{number}", 1, f"A lantern burns in house {number}."))
        yield made


@contextlib.asynccontextmanager
async def through(server: TypesenseServer) -> AsyncIterator[tuple[Proxy, TypesenseServer]]:
    async with Proxy(split(server.url)).running() as proxy:
        yield proxy, replace(server, url=f"http://127.0.0.1:{proxy.port}")


@contextlib.asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[tuple[str, Callable[[int], None]]]:
    """A server that gives sound answers with the beginning of `body`, and a function that says how much of it."""
    left = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % left + body[:left])
            await writer.drain()

    def cut(at: int) -> None:
        nonlocal left
        left = at

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        server.close()


class TestTypesense:
    LOOKUPS = (Lookup(words=("lantern",)), Lookup(words=("house",)))

    async def test_a_search_whose_answer_is_cut_is_an_error_and_never_an_empty_result(self, parts: Parts) -> None:
        server = parts.chunks.typesense.server
        whole = await ChunkSearch(parts.chunks.typesense).look_up(SCOPE, self.LOOKUPS)
        assert [found.total for found in whole] == [3, 3]
        async with through(server) as (proxy, behind), Typesense(behind) as typesense:
            cuts = await self.cut_until_whole(proxy, lambda: ChunkSearch(typesense).look_up(SCOPE, self.LOOKUPS), whole)
        assert cuts > 300

    async def test_nor_is_one_that_a_proxy_has_made_sound(self, parts: Parts) -> None:
        server = parts.chunks.typesense.server
        said = await self.said_to_a_search(parts)
        whole = await ChunkSearch(parts.chunks.typesense).look_up(SCOPE, self.LOOKUPS)
        async with answering(said) as (url, cut), Typesense(replace(server, url=url)) as typesense:
            for at in range(len(said)):
                cut(at)
                with pytest.raises(IndexUnavailable):
                    await ChunkSearch(typesense).look_up(SCOPE, self.LOOKUPS)
            cut(len(said))
            assert await ChunkSearch(typesense).look_up(SCOPE, self.LOOKUPS) == whole

    async def said_to_a_search(self, parts: Parts) -> bytes:
        """The body that the server answered."""
        said: list[bytes] = []
        send = parts.chunks.typesense.call

        async def heard(*args: Any, **more: Any) -> bytes:
            said.append(await send(*args, **more))
            return said[-1]

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(parts.chunks.typesense, "call", heard)
            await ChunkSearch(parts.chunks.typesense).look_up(SCOPE, self.LOOKUPS)
        return said[-1]

    @pytest.mark.parametrize("sound", [b"null", b"[]", b"{}", b'{"results": []}', b'{"results": null}', b"\xff", b"1"])
    async def test_what_is_no_answer_to_a_search_is_an_error(
        self, typesense_server: TypesenseServer, sound: bytes
    ) -> None:
        async with answering(sound) as (url, cut), Typesense(replace(typesense_server, url=url)) as typesense:
            cut(len(sound))
            with pytest.raises(IndexUnavailable):
                await ChunkSearch(typesense).look_up(SCOPE, self.LOOKUPS)

    @pytest.mark.timeout(300)
    async def test_an_import_whose_answer_is_cut_loses_no_document(
        self, parts: Parts, redis: Redis, typesense_server: TypesenseServer
    ) -> None:
        text = "Many lanterns. " * 200  # several chunks
        async with through(typesense_server) as (proxy, behind), opened(redis, behind) as distant:
            for cut in range(0, 2000, 3):
                await distant.chunks.collection.name()  # so that it is the import which is cut
                await proxy.switch(Fault(cut=cut))
                event = upserted(f"cut{cut}", 1, text)
                try:
                    assert await distant.deliver(event) is not None
                    break
                except IndexUnavailable:
                    record = await parts.records.get("t", f"cut{cut}")
                    assert record is not None
                    assert record.status == "pending"
                await proxy.switch(NONE)
                assert await distant.deliver(event) is not None
                assert (await parts.records.current("t", [f"cut{cut}"])) == {f"cut{cut}": 1}
                assert await parts.chunks.text("t", f"cut{cut}", 1, await self.chunks(parts, f"cut{cut}")) == text
            assert cut > 150

    async def chunks(self, parts: Parts, document_id: str) -> int:
        record = await parts.records.get("t", document_id)
        assert record is not None
        assert record.chunks > 1
        return record.chunks

    async def test_a_documents_text_is_never_given_in_part(
        self, parts: Parts, typesense_server: TypesenseServer
    ) -> None:
        text = "Many lanterns. " * 100
        await parts.deliver(upserted("long", 1, text))
        count = await self.chunks(parts, "long")
        async with through(typesense_server) as (proxy, behind), opened(parts.records.redis, behind) as distant:
            cuts = await self.cut_until_whole(proxy, lambda: distant.chunks.text("t", "long", 1, count), text, step=5)
        assert cuts > 300

    async def cut_until_whole(
        self, proxy: Proxy, call: Callable[[], Coroutine[Any, Any, Any]], whole: Any, step: int = 1
    ) -> int:
        """Make the call with ever more of its answer, which is an error until it is whole; how often it was one."""
        for cuts in range(20_000):
            await proxy.switch(Fault(cut=cuts * step))
            try:
                assert await call() == whole
                return cuts
            except IndexUnavailable:
                continue
        raise AssertionError("the answer never came")


class TestRedis:
    async def test_a_reply_that_is_cut_is_temporary_and_no_version_is_given_twice(self, redis_url: str) -> None:
        given = list[int]()
        async with (
            Proxy(split(redis_url)).running() as proxy,
            connected(f"redis://127.0.0.1:{proxy.port}/0") as distant,
        ):
            records = Records(distant)
            for cut in range(200):
                await proxy.switch(Fault(cut=cut))
                try:
                    given.append(await records.assign("t", "d"))
                    break
                except Temporary:
                    await proxy.switch(NONE)
                    given.append(await records.assign("t", "d"))
        assert len(given) > 3
        assert given == sorted(set(given))
