"""A TCP proxy that stands between a function and a server it depends on, and breaks what passes in ways that can be
switched while it runs.

`Fault` says what is broken; `Proxy` is one listening address; `Proxies` runs several in a thread of their own, for
tests that block or whose event loop ends before the proxy does.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

BLOCK = 64 * 1024
RST = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s; what is closed so is reset

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """What is broken. Times are in seconds; together they make what `slow` networks and dying servers do.

    `latency` is added to each block each way, with up to `jitter` more. `silent`: what is sent is taken and goes
    nowhere, and nothing comes back, on connections that are open already too. `reset`: open connections are reset, new
    ones at their first byte. `refuse`: open connections are reset, new ones refused. `cut`: of the server's bytes on
    each connection as many pass from now on, then it is closed as if they were all. `half_open`: the server's end is
    never passed on. `trickle`: seconds for each `trickle_bytes` of the server's answer.
    """

    latency: float = 0.0
    jitter: float = 0.0
    silent: bool = False
    reset: bool = False
    refuse: bool = False
    cut: int | None = None
    half_open: bool = False
    trickle: float = 0.0
    trickle_bytes: int = 1

    def delay(self, chance: random.Random) -> float:
        """Seconds that one block is late."""
        return self.latency + (chance.uniform(0, self.jitter) if self.jitter else 0.0)

    def pieces(self, block: bytes) -> list[bytes]:
        """A block of the server's as it is passed on."""
        if not self.trickle:
            return [block]
        return [block[at : at + self.trickle_bytes] for at in range(0, len(block), self.trickle_bytes)]

    def left(self, block: bytes, passed: int) -> bytes:
        """What of a block still passes, after so many bytes have."""
        return block if self.cut is None else block[: max(0, self.cut - passed)]


NONE = Fault()
SILENT = Fault(silent=True)
RESET = Fault(reset=True)
REFUSE = Fault(refuse=True)


def split(target: str) -> tuple[str, int]:
    """Host and port of an address such as redis://127.0.0.1:6379/0."""
    parts = urlsplit(target)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@dataclass(eq=False)
class Link:
    """One client's connection and the server's, which is opened with the client's first byte."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    passed: int = 0  # bytes of the server's that the client was given since the fault was switched

    def end(self, *, reset: bool = False) -> None:
        for writer in filter(None, (self.client, self.server)):
            sock = writer.get_extra_info("socket")
            if reset and sock is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()


@dataclass(eq=False)
class Proxy:
    """One address that stands for `target`, a host and port. Use it as `async with Proxy(...).running()`.

    `port` stays the same for its life, while it refuses too. `seen` counts the connections that were taken.
    """

    target: tuple[str, int]
    chance: random.Random = field(default_factory=random.Random)
    port: int = 0
    fault: Fault = NONE
    seen: int = 0
    links: set[Link] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Server | None = None
    _closing: bool = False
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen until exit; what is open then is closed."""
        with socket.socket() as held:  # bound and deaf, so that nobody else gets the port while connections are refused
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]
            await self._listen()
            try:
                yield self
            finally:
                self._closing = True
                self._deaf()
                self._end_all()
                self._changed.set()
                if self._serving:
                    await asyncio.wait(self._serving, timeout=10)

    async def switch(self, fault: Fault) -> None:
        """Break what passes in this way from now on, on open connections too."""
        self.fault = fault
        for link in self.links:
            link.passed = 0
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if fault.reset or fault.refuse:
            self._end_all(reset=True)
        if fault.refuse:
            self._deaf()
        elif self._listening is None:
            await self._listen()

    async def aim(self, target: tuple[str, int], *, cut_off: bool = True) -> None:
        """Stand for another server; open connections end, or with `cut_off=False` stay with the one they have."""
        self.target = target
        if cut_off:
            self._end_all()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=BLOCK, reuse_port=True)

    def _deaf(self) -> None:
        if self._listening is not None:
            self._listening.close()  # without waiting: from 3.12 on that waits for every open connection
            self._listening = None

    def _end_all(self, *, reset: bool = False) -> None:
        for link in list(self.links):
            link.end(reset=reset)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer)
        self.links.add(link)
        if task := asyncio.current_task():
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        self.seen += 1
        try:
            await self._joined(link, reader)
        except (OSError, asyncio.IncompleteReadError):
            link.end()  # either side has gone
        finally:
            self.links.discard(link)
            link.end()

    async def _joined(self, link: Link, reader: asyncio.StreamReader) -> None:
        first = await reader.read(BLOCK)
        if self.fault.reset:
            link.end(reset=True)
            return
        await self._while_silent()
        if not first or self._closing:
            return
        from_server, link.server = await asyncio.open_connection(*self.target, limit=BLOCK)
        there = asyncio.create_task(self._requests(link, reader, first))
        back = asyncio.create_task(self._answers(link, from_server))
        try:
            await asyncio.wait({there, back})
        finally:
            there.cancel()
            back.cancel()
        for task in (there, back):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _requests(self, link: Link, reader: asyncio.StreamReader, block: bytes) -> None:
        assert link.server is not None
        while block:
            await self._while_silent()
            await asyncio.sleep(self.fault.delay(self.chance))
            link.server.write(block)
            await link.server.drain()
            block = await reader.read(BLOCK)
        if link.server.can_write_eof():
            link.server.write_eof()

    async def _answers(self, link: Link, reader: asyncio.StreamReader) -> None:
        while block := await reader.read(BLOCK):
            await self._while_silent()
            await asyncio.sleep(self.fault.delay(self.chance))
            for piece in self.fault.pieces(block):
                await self._pass_on(link, piece)
                if link.client.is_closing():
                    return
        if not self.fault.half_open:
            link.client.close()
            return
        await self._until_changed()
        link.client.close()

    async def _pass_on(self, link: Link, piece: bytes) -> None:
        left = self.fault.left(piece, link.passed)
        link.client.write(left)
        await link.client.drain()
        link.passed += len(left)
        if len(left) < len(piece):
            link.client.close()
            if link.server is not None:
                link.server.close()
        elif self.fault.trickle:
            await asyncio.sleep(self.fault.trickle)

    async def _while_silent(self) -> None:
        while self.fault.silent and not self._closing:
            await self._until_changed()

    async def _until_changed(self) -> None:
        await self._changed.wait()


class Proxies:
    """Proxies by name in a thread of their own. Calls come from any other thread and return when they are done."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.chance = chance or random.Random()
        self.by_name: dict[str, Proxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = contextlib.AsyncExitStack()

    def __enter__(self) -> "Proxies":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def stand_for(self, name: str, url: str) -> str:
        """A proxy of this name for a server; the server's URL with the proxy's address in it."""
        host, port = split(url)

        async def begun() -> Proxy:
            return await self._stack.enter_async_context(Proxy((host, port), self.chance).running())

        self.by_name[name] = self._do(begun())
        return url.replace(f"{host}:{port}", f"127.0.0.1:{self.by_name[name].port}", 1)

    def switch(self, name: str, fault: Fault) -> None:
        """As `Proxy.switch`."""
        self._do(self.by_name[name].switch(fault))

    def aim(self, name: str, url: str, *, cut_off: bool = True) -> None:
        """As `Proxy.aim`."""
        self._do(self.by_name[name].aim(split(url), cut_off=cut_off))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
