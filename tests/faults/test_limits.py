"""A crowd that behaves badly: it reads nothing, sends half a request or far too much. Others are served meanwhile.

What each process may take is stated here: memory at its highest, and file descriptors when the crowd has gone.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from knts import channel
from knts.clients.channel import Channel
from knts.clients.flights import Flights
from knts.clients.redis import Redis, connected
from knts.serve import allow_descriptors
from tests.e2e.roads import start_road
from tests.faults.processes import FUNCTIONS, Processes, until

SECONDS = {"KNTS_HEAD_TIMEOUT": "4", "KNTS_BODY_TIMEOUT": "4", "KNTS_SLOW_CLIENT": "4"}
MIB = 1024 * 1024
MOST = 256 * MIB  # resident memory of a process of ours, whatever a crowd does
MORE = {"ingress": 512 * MIB, "dead-letter": 512 * MIB}  # 5,000 who wait; letters of up to 64 MiB
LATE = 15.0  # seconds until what a crowd has held is free again, its deadline of 4 s included
TOO_MUCH = 64 * MIB + 1
SPARE = 100  # descriptors that a process may have more than before: its pools of connections, at most 64 to Redis
OURS = (*FUNCTIONS, "broker")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A run of its own, with short deadlines."""
    allow_descriptors()  # this process is the crowd
    road = start_road(tmp_path_factory.mktemp("limits"), KNTS_FIRST_DOCUMENTS="docs/events.md", **SECONDS)
    yield Processes(road)
    road.stop()


@dataclass
class Guard:
    """Watches the processes: their memory at its highest, their descriptors, and a person who searches meanwhile."""

    processes: Processes
    http: aiohttp.ClientSession
    before: dict[str, int] = field(default_factory=dict)
    served: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0

    def url(self, name: str) -> str:
        run = self.processes.run
        return str(run["functions"].get(name) or f"http://127.0.0.1:{run['ports'][name]}")

    def start(self) -> None:
        for name in OURS:
            pid = self.processes.pid(name)
            assert pid is not None
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest memory counts from here
            self.before[name] = descriptors(pid)

    async def judge(self) -> None:
        """Everything is as it was, memory stayed within its bounds, and others were served."""
        peaks = {name: peak(self.pid(name)) for name in OURS}
        self.processes.note("MiB at most: " + ", ".join(f"{name} {size // MIB}" for name, size in peaks.items()))
        self.processes.note(f"searches meanwhile: {dict(self.served)}, the slowest {self.slowest:.2f} s")
        assert {name: size for name, size in peaks.items() if size > MORE.get(name, MOST)} == {}
        with contextlib.suppress(TimeoutError):
            await until(lambda: not self.left(), LATE)
        assert self.left() == {}
        assert set(self.served) == {200}

    def pid(self, name: str) -> int:
        pid = self.processes.pid(name)
        assert pid is not None, f"{name} has gone"
        return pid

    def left(self) -> dict[str, int]:
        """Descriptors that are still open."""
        more = {name: descriptors(self.pid(name)) - self.before[name] for name in OURS}
        return {name: count for name, count in more.items() if count > SPARE}

    async def search(self) -> None:
        """A person searches again and again."""
        while True:
            began = time.monotonic()
            async with self.http.get(f"{self.url('ingress')}/v1/search", params={"q": "broker"}) as response:
                self.served[response.status] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            await asyncio.sleep(0.2)


def peak(pid: int) -> int:
    """The most memory that was resident, in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@pytest_asyncio.fixture
async def guard(processes: Processes) -> AsyncIterator[Guard]:
    """While the test goes on somebody searches; at its end everything is judged."""
    processes.faults, processes.began = [], time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        guard = Guard(processes, http)
        await processes.calm()
        guard.start()
        searching = asyncio.create_task(guard.search())
        try:
            yield guard
            assert not searching.done() or searching.exception() is None
            await guard.judge()
        finally:
            searching.cancel()
            print("\n".join(f"  {fault}" for fault in processes.faults))


class Peer:
    """A client by hand: one connection, with buffers as small as a far one's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, url: str, message: bytes) -> "Peer":
        parts = urlsplit(url)
        peer = socket.socket()
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # so that the kernel's buffers are no loopback's
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        await asyncio.get_running_loop().sock_connect(peer, (parts.hostname, parts.port))
        made = cls(*await asyncio.open_connection(sock=peer, limit=1024))
        made.writer.write(message)
        return made

    async def status(self) -> int:
        """The status of the answer; 0 where the connection ends without one."""
        try:
            line = await self.reader.readline()
        except (ConnectionError, ValueError):
            return 0
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0

    async def ended(self) -> None:
        """Return when the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1024):
                pass

    def close(self) -> None:
        self.writer.transport.abort()


async def peers(count: int, url: str, message: bytes) -> list[Peer]:
    """So many at once."""
    return [
        peer
        for _ in range(0, count, 100)
        for peer in await asyncio.gather(*(Peer.to(url, message) for _ in range(100)))
    ]


# -- reading nothing --------------------------------------------------------------------------------------------------


async def opened(redis: Redis) -> str:
    """The id of an answer that nobody makes yet."""
    ask_id, now = secrets.token_hex(16), int(time.time() * 1000)
    noted = {"tenant": "local", "owner": "local", "groups": "[]", "kind": "answer", "question": "Long?"}
    await Channel(redis).open(ask_id, {"id": ask_id}, **noted, created=now, deadline=now + 600_000)
    return ask_id


async def long_answer(processes: Processes, frames: int, size: int) -> str:
    """The id of an answer that is being written: so many frames of so many bytes."""
    async with connected(processes.run["env"]["REDIS_URL"]) as redis:
        ask_id = await opened(redis)
        flights = Flights(redis, lease_ms=600_000)
        joined = await flights.join(secrets.token_hex(16), ask_id)
        for number in range(frames):
            await flights.append(joined.flight, joined.token, [(channel.DELTA, {"text": f"{number} ".ljust(size)})])
    return ask_id


@pytest.mark.timeout(120)
async def test_a_thousand_who_read_nothing_are_given_up(guard: Guard) -> None:
    ask_id = await long_answer(guard.processes, frames=512, size=4096)  # 2 MiB, a frame 40 times an usual one
    request = f"GET /v1/answers/{ask_id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    crowd = await peers(1000, guard.url("ingress"), request)
    try:
        assert Counter(await asyncio.gather(*(peer.status() for peer in crowd))) == {200: 1000}
        for _ in range(8):
            await asyncio.gather(*(peer.reader.read(1) for peer in crowd[::2]))  # a byte now and then is nothing too
            await asyncio.sleep(0.5)
        with contextlib.suppress(TimeoutError):
            await until(lambda: not guard.left(), LATE)
        assert guard.left() == {}
    finally:
        for peer in crowd:
            peer.close()


WAITERS = 5000


@pytest.mark.timeout(120)
async def test_thousands_wait_in_bounded_memory(guard: Guard) -> None:
    async with connected(guard.processes.run["env"]["REDIS_URL"], timeout=30) as redis:
        asks = await asyncio.gather(*(opened(redis) for _ in range(WAITERS)))
    crowd: list[Peer] = []
    try:
        for at in range(0, WAITERS, 100):
            heads = [f"GET /v1/answers/{ask}/events HTTP/1.1\r\nhost: localhost\r\n\r\n" for ask in asks[at : at + 100]]
            crowd += await asyncio.gather(*(Peer.to(guard.url("ingress"), head.encode()) for head in heads))
        assert Counter(await asyncio.gather(*(peer.status() for peer in crowd))) == {200: WAITERS}
        found = await asyncio.gather(*(peer.reader.readuntil(b"event: queued\n") for peer in crowd))
        assert len(found) == WAITERS
        await asyncio.sleep(5)  # others search meanwhile
    finally:
        for peer in crowd:
            peer.close()


# -- half a request ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_half_sent_heads_are_not_waited_for(guard: Guard) -> None:
    half = b"POST /v1/answers HTTP/1.1\r\nhost: localhost\r\nx-one: "
    crowd = await peers(500, guard.url("ingress"), half)
    for name in ("broker", "search", "llm-answer", "dead-letter"):
        crowd += await peers(100, guard.url(name), half)
    try:
        async with asyncio.timeout(LATE):
            await asyncio.gather(*(peer.ended() for peer in crowd))
    finally:
        for peer in crowd:
            peer.close()


HALVES = {
    "question": ("POST /v1/answers", "ingress", 60_000, 408),
    "document": ("PUT /v1/documents/half", "ingress", 2 * MIB, 408),
    "lines": ("POST /v1/documents", "ingress", 2 * MIB, 202),  # what had come whole is told: nothing
    "to the broker": ("POST /default/kn-ts", "broker", 900_000, 408),
    "to a function": ("POST /", "index-document", 900_000, 503),
}


@pytest.mark.parametrize("which", HALVES)
@pytest.mark.timeout(120)
async def test_half_sent_bodies_are_not_waited_for(guard: Guard, which: str) -> None:
    path, name, size, status = HALVES[which]
    kind = "application/x-ndjson" if which == "lines" else "application/json"
    head = f"{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n"
    crowd = await peers(500, guard.url(name), head.encode() + b" " * (size - 1000))
    try:
        async with asyncio.timeout(2 * LATE):
            statuses = Counter(await asyncio.gather(*(peer.status() for peer in crowd)))
            guard.processes.note(f"{which}: answered {dict(statuses)}")
            await asyncio.gather(*(peer.ended() for peer in crowd))
        assert set(statuses) <= {status, 429, 503}  # 429: more loads at once than one ingress takes on
    finally:
        for peer in crowd:
            peer.close()


# -- far too much -----------------------------------------------------------------------------------------------------

DOORS = {
    **{f"ingress {path}": ("ingress", path, 413) for path in ("PUT /v1/documents/big", "POST /v1/answers")},
    "ingress POST /v1/documents": ("ingress", "POST /v1/documents", 202),  # its one line is refused, by its number
    "broker": ("broker", "POST /default/kn-ts", 413),
    **{name: (name, "POST /", 413) for name in FUNCTIONS if name not in ("ingress", "dead-letter")},
    "dead-letter": ("dead-letter", "POST /", 413),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.timeout(120)
async def test_far_too_large_bodies_are_refused(guard: Guard, chunked: bool) -> None:
    doors = [door for door in DOORS for _ in range(3)]
    statuses = await asyncio.gather(
        *(upload(guard.url(name), path, chunked=chunked) for name, path, _ in map(DOORS.__getitem__, doors))
    )
    found = {door: {status for at, status in zip(doors, statuses, strict=True) if at == door} for door in DOORS}
    assert found == {door: {status} for door, (_, _, status) in DOORS.items()}


async def upload(url: str, path: str, *, chunked: bool, size: int = TOO_MUCH) -> int:
    """Send a body of so many bytes, until it is all sent or the server has had enough; the answer's status."""
    kind = "application/x-ndjson" if path == "POST /v1/documents" else "application/json"
    length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    head = f"{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n{length}\r\n\r\n"
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    peer = Peer(reader, writer)
    writer.write(head.encode())
    sending = asyncio.create_task(_send(writer, size, chunked=chunked))
    try:
        async with asyncio.timeout(60):
            status = await peer.status()
            if status != 202:
                await peer.ended()
            return status
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        peer.close()


async def _send(writer: asyncio.StreamWriter, size: int, *, chunked: bool) -> None:
    block = b" " * (256 * 1024)
    framed = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
    with contextlib.suppress(ConnectionError):
        for _ in range(size // len(block)):
            writer.write(framed)
            await writer.drain()
        writer.write(b"1\r\n \r\n0\r\n\r\n" if chunked else b" ")
        await writer.drain()
