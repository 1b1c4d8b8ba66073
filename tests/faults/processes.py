"""The processes of a local run: found by name, killed, paused, held down; each fault is noted with its time."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knts.local.process import http_status
from tests.e2e.roads import Road, descendants, environment

FUNCTIONS = ("ingress", "index-document", "search", "llm-answer", "cache-writer", "dead-letter")
SERVERS = ("redis", "redis-cache", "typesense", "model")
EVERYTHING = (*FUNCTIONS, "broker", *SERVERS)


@dataclass
class Processes:
    """Those of one run, by `names`. `faults` says in words what was done to them."""

    road: Road
    names: Sequence[str] = EVERYTHING
    faults: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def run(self) -> dict[str, Any]:
        """What the run has noted of itself."""
        assert self.road.home is not None
        said: dict[str, Any] = json.loads((self.road.home / "run.json").read_text())
        return said

    def pid(self, name: str) -> int | None:
        """The process of this name that runs now."""
        assert self.road.process is not None
        return next((pid for pid in descendants(self.road.process.pid) if self._is(pid, name)), None)

    def _is(self, pid: int, name: str) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        if name.startswith("redis"):  # Valkey writes its address over its arguments
            return "valkey-server" in command[0] and command[0].split()[-1] == f"127.0.0.1:{self.run['ports'][name]}"
        if name == "typesense":
            return f"{self.road.home}/data/{name}" in command
        if name in ("model", "broker"):
            return {"model": "knts.local.model", "broker": "knts.devbroker"}[name] in command
        return "knts.serve" in command and f"FUNCTION_TARGET={name}".encode() in environment(pid)

    def send(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal; the process that got it."""
        pid = self.pid(name)
        if pid is not None and signalled(pid, number):
            self.note(f"{number.name} {name} ({pid})")
        return pid

    def note(self, what: str) -> None:
        self.faults.append(f"{time.monotonic() - self.began:7.2f} s  {what}")

    async def up(self, name: str, path: str = "/healthz") -> bool:
        """Whether it answers."""
        return await asyncio.to_thread(self._up, name, path)

    def _up(self, name: str, path: str) -> bool:
        run = self.run
        if name.startswith("redis"):
            return pings(run["ports"][name])
        url = run["functions"].get(name) or f"http://127.0.0.1:{run['ports'][name]}"
        path = {"typesense": "/health", "model": "/api/version"}.get(name, path)
        return http_status(f"{url}{path}", timeout=1)[0] == 200

    async def calm(self, seconds: float = 90) -> None:
        """Return when every process says that it is ready."""
        async with asyncio.timeout(seconds):
            for name in self.names:
                while not await self.up(name, "/readyz"):  # noqa: ASYNC110 - they are other processes
                    await asyncio.sleep(0.2)
        assert (lost := [name for name in self.names if self.pid(name) is None]) == [], f"where are {lost}?"
        self.note("all is up")

    async def pause(self, name: str, seconds: float) -> None:
        """Stop a process in its tracks for a while."""
        pid = self.send(name, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if pid is not None and signalled(pid, signal.SIGCONT):
            self.note(f"SIGCONT {name} ({pid}) after {seconds:.1f} s")

    @contextlib.asynccontextmanager
    async def held_down(self, name: str) -> AsyncIterator[None]:
        """Kill a server and keep the one that is started in its place from coming up, until exit."""
        killed = self.send(name, signal.SIGKILL)
        await until(lambda: self.pid(name) not in (None, killed), 30, pause=0.005)
        pid = self.pid(name)
        assert pid is not None
        signalled(pid, signal.SIGSTOP)
        self.note(f"{name} is held down: it {'hangs' if await self.up(name) else 'does not answer'}")
        try:
            yield
        finally:
            signalled(pid, signal.SIGCONT)
            self.note(f"{name} may come up")

    async def torment(self, chance: random.Random, seconds: float, *, at_once: int = 2) -> None:
        """Kill anything, pause functions, at random moments, at most so many at a time."""
        until, pauses = time.monotonic() + seconds, set[asyncio.Task[None]]()
        down: dict[str, asyncio.Task[None]] = {}
        while time.monotonic() < until:
            await asyncio.sleep(chance.uniform(0.3, 3.0))
            down = {name: task for name, task in down.items() if not task.done() or not await self.up(name)}
            if len(down) >= at_once:
                continue
            if chance.random() < 0.25:
                name = chance.choice([name for name in FUNCTIONS if name not in down])
                down[name] = asyncio.create_task(self.pause(name, chance.uniform(1, 8)))
                pauses.add(down[name])
                continue
            name = chance.choice([name for name in self.names if name not in down])
            self.send(name, signal.SIGKILL)
            down[name] = asyncio.create_task(asyncio.sleep(0.5))
        await asyncio.gather(*pauses)


async def until(holds: Callable[[], bool], seconds: float, *, pause: float = 0.05) -> None:
    """Return when it holds; it is about other processes, so it has to be asked again and again."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(pause)


def signalled(pid: int, number: signal.Signals) -> bool:
    """Whether there was still a process to signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def pings(port: int) -> bool:
    """Whether a Redis answers PING."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
