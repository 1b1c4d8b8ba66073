"""A primary Redis and its replica, real ones, with a proxy before the primary and one between the two."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from knts.clients.redis import Redis, connected
from knts.local.process import Child
from knts.local.servers import Valkey, durable_valkey, started
from tests.faults.proxy import Fault, Proxy, split


@dataclass
class Pair:
    """`url` is where clients go, whoever is the primary; `link` is what the replica hears of the primary by."""

    url: str
    primary: Redis
    replica: Redis
    processes: list[Child]
    door: Proxy
    link: Proxy
    first: Valkey
    second: Valkey

    async def in_step(self) -> None:
        """Return when the replica has all that the primary has acknowledged."""
        await self.primary.set("knts:test:in-step", "1")
        async with asyncio.timeout(20):
            while await self.primary.execute_command("WAIT", 1, 500) != 1:
                continue

    async def lag(self) -> None:
        """The replica hears nothing more."""
        await self.link.switch(Fault(silent=True))

    async def fail_over(self, *, cut_off: bool = True) -> None:
        """The replica becomes the primary, and clients are sent to it."""
        await self.replica.execute_command("REPLICAOF", "NO", "ONE")
        await self.door.aim(split(self.second.url), cut_off=cut_off)

    async def kill_primary(self) -> None:
        """It ends without a word."""
        self.processes[0].popen.kill()
        await asyncio.to_thread(self.processes[0].popen.wait)

    async def rejoin(self) -> None:
        """The primary that was killed comes back as a replica of the one that took its place."""
        self.processes[0] = started(self.first)
        await self.primary.execute_command("REPLICAOF", "127.0.0.1", str(self.second.port))


@contextlib.asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Both of them, in step; stopped at the end."""
    first, second = (durable_valkey(folder / name, folder / f"{name}.log") for name in ("first", "second"))
    children = [started(first), started(second)]
    try:
        async with (
            connected(first.url) as primary,
            connected(second.url) as replica,
            Proxy(split(first.url)).running() as door,
            Proxy(split(first.url)).running() as link,
        ):
            await primary.config_set("repl-diskless-sync-delay", "0")
            await replica.execute_command("REPLICAOF", "127.0.0.1", str(link.port))
            url = f"redis://127.0.0.1:{door.port}/0"
            made = Pair(url, primary, replica, children, door, link, first, second)
            await made.in_step()
            yield made
    finally:
        for child in children:
            child.stop()
