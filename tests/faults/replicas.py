"""Several replicas beside a local run: more processes of a function, the gateway before them, and a watched Ollama."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from bench.cancel import cpu_seconds
from bench.watched import Watched
from knts.clients.redis import connected
from knts.local.model import NAME
from knts.local.plan import SMALL_MODEL
from knts.local.process import Child, free_port, http_status, start, wait_until
from knts.local.servers import PackagedModel, started
from tests.e2e.roads import Road, environment, start_road
from tests.faults.processes import EVERYTHING, Processes, signalled, until

T = TypeVar("T")
LOOK = 0.5  # seconds between two looks at a replica
BAD_GATEWAY, NOBODY = 502, 503


class Gateway:
    """Before the replicas of a function, as a platform has one: a request goes to the next replica that is ready.

    A replica that refuses a connection, or does not answer /healthz within a second, gets nothing more until it does.
    """

    def __init__(self) -> None:
        self.url = ""
        self.replicas: Sequence[str] = ()
        self.ready: set[str] = set()
        self._next = 0
        self._under_way: dict[object, tuple[str, str]] = {}

    def at(self, correlation_id: str) -> list[str]:
        """The replicas that work on a delivery of this correlation id now."""
        return [replica for named, replica in list(self._under_way.values()) if named == correlation_id]

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        for _ in self.replicas:
            self._next += 1
            replica = self.replicas[self._next % len(self.replicas)]
            if replica not in self.ready:
                continue
            try:
                return await self._ask(replica, request, body)
            except aiohttp.ClientConnectorError:
                self.ready.discard(replica)
            except aiohttp.ClientError:
                return web.Response(status=BAD_GATEWAY)
        return web.Response(status=NOBODY)

    async def _ask(self, replica: str, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        mark = object()
        self._under_way[mark] = (request.headers.get("ce-correlationid", ""), replica)
        try:
            async with self._http.request(request.method, replica + request.path_qs, data=body, headers=headers) as got:
                told = {name: value for name, value in got.headers.items() if name not in ("Content-Length", "Date")}
                return web.Response(status=got.status, headers=told, body=await got.read())
        finally:
            del self._under_way[mark]

    async def _look(self) -> None:
        while True:
            for replica in self.replicas:
                try:
                    async with self._http.get(f"{replica}/healthz", timeout=aiohttp.ClientTimeout(total=1)):
                        self.ready.add(replica)
                except (aiohttp.ClientError, TimeoutError):
                    self.ready.discard(replica)
            await asyncio.sleep(LOOK)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        """Listens at `url` until exit."""
        app = web.Application(client_max_size=2**21)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._http:
            await runner.setup()
            looking = asyncio.create_task(self._look())
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                looking.cancel()
                await runner.cleanup()


class Background:
    """An event loop in a thread of its own, for servers that outlive a test."""

    def __enter__(self) -> "Background":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; called from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    @contextlib.contextmanager
    def holding(self, server: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """An async context that is open in the background until exit."""
        stack = contextlib.AsyncExitStack()
        yield self.run(stack.enter_async_context(server))
        self.run(stack.aclose())


@dataclass
class Replica:
    """One process of a function; `child` is None for the run's own, which its supervisor starts again."""

    function: str
    url: str
    env: dict[str, str]
    log: Path
    child: Child | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child = start(self.function, [sys.executable, "-m", "knts.serve"], log=self.log, env=self.env)
        wait_until(self.up, self.child, seconds=60)

    def up(self) -> bool:
        return http_status(f"{self.url}/healthz", timeout=1)[0] == 200


@dataclass
class Replicated:
    """A local run with three replicas of ingress and of llm-answer; what is asked of Ollama goes through `ollama`."""

    processes: Processes
    ollama: Watched
    gateway: Gateway
    replicas: list[Replica] = field(default_factory=list)

    @property
    def road(self) -> Road:
        return self.processes.road

    def of(self, function: str) -> list[Replica]:
        return [replica for replica in self.replicas if replica.function == function]

    @property
    def doors(self) -> list[str]:
        """The addresses of the replicas of ingress."""
        return [replica.url for replica in self.of("ingress")]

    def pid(self, replica: Replica) -> int | None:
        if replica.child is not None:
            return replica.child.popen.pid if replica.child.running else None
        return self.processes.pid(replica.function)

    def send(self, replica: Replica, number: signal.Signals) -> int:
        """Send a signal; the process that got it."""
        pid = self.pid(replica)
        assert pid is not None, f"no process of {replica.function} at {replica.url}"
        assert signalled(pid, number)
        self.processes.note(f"{number.name} {replica.function} at {replica.url} ({pid})")
        return pid

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used of the CPU so far, all replicas of a function together."""
        pids = {name: [self.processes.pid(name)] for name in self.processes.names}
        for replica in self.replicas:
            if replica.child is not None:
                pids[replica.function].append(self.pid(replica))
        return {name: sum(cpu_seconds(pid) for pid in each if pid is not None) for name, each in pids.items()}

    async def mend(self) -> None:
        """Start again what was killed, and wait until every replica is ready and nobody works for an earlier test."""
        for replica in self.replicas:
            if replica.child is not None and not replica.child.running:
                replica.start()
        await until(lambda: all(replica.up() for replica in self.replicas), 60)
        await until(lambda: self.gateway.ready >= {replica.url for replica in self.of("llm-answer")}, 30)
        await until(lambda: all(call.ended for call in self.ollama.calls), 60)
        self.ollama.pace = 0.0
        await self.processes.calm()

    async def leader(self, flight: str) -> Replica:
        """The llm-answer process that leads a flight now."""
        async with connected(self.processes.run["env"]["REDIS_URL"]) as redis:
            ask = await redis.hget(f"knts:flight-info:{flight}", "leader")
        assert ask is not None, "there is no such flight"
        (url,) = self.gateway.at(ask.decode())
        return next(replica for replica in self.replicas if replica.url == url)


@contextlib.contextmanager
def replicated(home: Path, count: int = 3, **env: str) -> Iterator[Replicated]:
    """Start it, and stop all of it on exit."""
    with contextlib.ExitStack() as stack:
        background = stack.enter_context(Background())
        model = PackagedModel(home / "model" / "lib", home / "model" / "log")
        stack.callback(started(model).stop)
        watched = stack.enter_context(background.holding(Watched(model.url).running()))
        gateway = stack.enter_context(background.holding(Gateway().running()))
        road = start_road(
            home / "run",
            OLLAMA_URL=watched.url,
            OLLAMA_MODEL=NAME,
            KNTS_SUBSCRIBERS=json.dumps({"llm-answer": gateway.url}),
            **SMALL_MODEL,
            **env,
        )
        stack.callback(road.stop)
        names = [name for name in EVERYTHING if name != "model"]  # which the test has started
        here = Replicated(Processes(road, names), watched, gateway)
        for function in ("ingress", "llm-answer"):
            for each in of_run(here, function, count):
                here.replicas.append(each)
                if each.env:
                    each.start()
                    assert each.child is not None
                    stack.callback(each.child.stop)
        gateway.replicas = [replica.url for replica in here.of("llm-answer")]
        yield here


def of_run(here: Replicated, function: str, count: int) -> Iterator[Replica]:
    """The run's own process of a function, and others with the same environment but for the port."""
    pid = here.processes.pid(function)
    assert pid is not None
    assert here.road.home is not None
    yield Replica(function, here.processes.run["functions"][function], {}, here.road.home / "logs" / f"{function}.log")
    named = dict(part.split("=", 1) for part in map(os.fsdecode, environment(pid)) if "=" in part)
    for number in range(1, count):
        port = free_port()
        log = here.road.home / "logs" / f"{function}-{number}.log"
        yield Replica(function, f"http://127.0.0.1:{port}", {**named, "PORT": str(port)}, log)
