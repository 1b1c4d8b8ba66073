"""The fault proxy breaks connections in the way it is told to, also those that are open."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.faults.proxy import NONE, REFUSE, RESET, SILENT, Fault, Proxies, Proxy, split

ANSWER = b"0123456789"


@dataclass
class Server:
    """Answers each line with `ANSWER` and closes after the line `end`."""

    name: bytes = b""
    got: list[bytes] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.got.append(line)
                writer.write(ANSWER + self.name)
                await writer.drain()
                if line == b"end\n":
                    return

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield self
        finally:
            server.close()


@dataclass
class Client:
    """A connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: bytes = b"hello\n") -> None:
        self.writer.write(line)
        await self.writer.drain()

    async def hear(self, count: int = len(ANSWER)) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), 10)

    async def hears_nothing(self, seconds: float = 0.2) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return True


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().running() as running:
        yield running


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server.address, random.Random(7)).running() as running:
        yield running


async def connect(proxy: Proxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def test_without_a_fault_everything_passes_both_ways_to_the_end(proxy: Proxy, server: Server) -> None:
    client = await connect(proxy)
    await client.say()
    assert await client.hear() == ANSWER
    await client.say(b"end\n")
    assert await asyncio.wait_for(client.reader.read(), 10) == ANSWER
    assert server.got == [b"hello\n", b"end\n"]
    assert proxy.seen == 1


async def test_a_client_that_ends_is_passed_on(proxy: Proxy, server: Server) -> None:
    client = await connect(proxy)
    await client.say(b"half a line")
    client.writer.write_eof()
    assert await asyncio.wait_for(client.reader.read(), 10) == ANSWER
    assert server.got == [b"half a line"]


async def test_latency_holds_each_block_back(proxy: Proxy) -> None:
    await proxy.switch(Fault(latency=0.1, jitter=0.05))
    client, loop = await connect(proxy), asyncio.get_running_loop()
    began = loop.time()
    await client.say()
    await client.hear()
    assert loop.time() - began >= 0.2  # there and back


async def test_a_black_hole_takes_everything_and_says_nothing_until_it_passes(proxy: Proxy, server: Server) -> None:
    before = await connect(proxy)
    await before.say()
    await before.hear()
    await proxy.switch(SILENT)
    anew = await connect(proxy)
    for client in (before, anew):
        await client.say()
        assert await client.hears_nothing()
    assert server.got == [b"hello\n"]
    await proxy.switch(NONE)
    for client in (before, anew):  # TCP would have sent it again and again, too
        assert await client.hear() == ANSWER


async def test_a_reset_ends_open_connections_and_meets_new_ones_at_their_first_byte(proxy: Proxy) -> None:
    before = await connect(proxy)
    await before.say()
    await before.hear()
    await proxy.switch(RESET)
    with pytest.raises(ConnectionResetError):
        await before.hear()
    anew = await connect(proxy)
    with pytest.raises(ConnectionResetError):
        await asyncio.gather(anew.say(), anew.hear())


async def test_refused_connections_are_taken_again_at_the_same_address(proxy: Proxy) -> None:
    await proxy.switch(REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.switch(NONE)
    client = await connect(proxy)
    await client.say()
    assert await client.hear() == ANSWER


@pytest.mark.parametrize("cut", range(len(ANSWER)))
async def test_an_answer_is_cut_at_any_byte_as_if_it_were_whole(proxy: Proxy, cut: int) -> None:
    await proxy.switch(Fault(cut=cut))
    client = await connect(proxy)
    await client.say()
    assert await asyncio.wait_for(client.reader.read(), 10) == ANSWER[:cut]


async def test_a_cut_beyond_the_answer_cuts_a_later_one(proxy: Proxy) -> None:
    await proxy.switch(Fault(cut=len(ANSWER) + 3))
    client = await connect(proxy)
    await client.say()
    assert await client.hear() == ANSWER
    await client.say()
    assert await asyncio.wait_for(client.reader.read(), 10) == ANSWER[:3]


async def test_a_half_open_connection_never_hears_of_the_end(proxy: Proxy) -> None:
    await proxy.switch(Fault(half_open=True))
    client = await connect(proxy)
    await client.say(b"end\n")
    assert await client.hear() == ANSWER
    assert await client.hears_nothing()
    await proxy.switch(NONE)
    assert await asyncio.wait_for(client.reader.read(), 10) == b""


async def test_a_trickle_comes_byte_by_byte(proxy: Proxy) -> None:
    await proxy.switch(Fault(trickle=0.01))
    client, loop = await connect(proxy), asyncio.get_running_loop()
    await client.say()
    began, got = loop.time(), b""
    while len(got) < len(ANSWER):
        got += await asyncio.wait_for(client.reader.read(100), 10)
    assert got == ANSWER
    assert loop.time() - began >= 0.01 * (len(ANSWER) - 1)


@pytest.mark.parametrize("cut_off", [True, False])
async def test_another_target_is_met_by_new_connections_and_old_ones_may_stay(
    proxy: Proxy, server: Server, cut_off: bool
) -> None:
    before = await connect(proxy)
    await before.say()
    await before.hear()
    async with Server(b"other").running() as other:
        await proxy.aim(other.address, cut_off=cut_off)
        if cut_off:
            assert await asyncio.wait_for(before.reader.read(), 10) == b""
        else:
            await before.say()
            assert await before.hear() == ANSWER
        anew = await connect(proxy)
        await anew.say()
        assert await anew.hear(len(ANSWER) + 5) == ANSWER + b"other"


async def test_a_server_that_is_not_there_ends_the_connection(proxy: Proxy) -> None:
    await proxy.aim(("127.0.0.1", 9))
    client = await connect(proxy)
    await client.say()
    assert await asyncio.wait_for(client.reader.read(), 10) == b""


async def test_proxies_in_a_thread_of_their_own_are_switched_from_outside(server: Server) -> None:
    with Proxies() as proxies:
        url = await asyncio.to_thread(proxies.stand_for, "server", "http://{}:{}/path".format(*server.address))
        assert url.endswith("/path")
        client = Client(*await asyncio.open_connection(*split(url)))
        await client.say()
        assert await client.hear() == ANSWER
        await asyncio.to_thread(proxies.switch, "server", RESET)
        with pytest.raises(ConnectionResetError):
            await client.hear()
