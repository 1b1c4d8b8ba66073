"""What the broker's tests share: manifests in a folder, a scripted subscriber, and the broker's process."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from knts import events
from knts.events import Event

ROOT = Path(__file__).resolve().parents[2]
PING = "test.ping"
FAST = {"retry": 2, "backoffPolicy": "exponential", "backoffDelay": "PT0.01S", "timeout": "PT5S"}


def broker_manifest(name: str = "kn-ts", **spec: Any) -> dict[str, Any]:
    """A Broker."""
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": name}, "spec": spec}


def trigger_manifest(name: str, uri: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A Trigger of it, for PING events unless told otherwise; `filters=None` leaves filters out."""
    wanted = {"filters": [{"exact": {"type": PING}}], "delivery": FAST, **spec}
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"broker": "kn-ts", "subscriber": {"uri": uri}, **{k: v for k, v in wanted.items() if v is not None}},
    }


def write_manifests(folder: Path, *documents: Mapping[str, Any]) -> None:
    """The documents in one file, replaced in one step as editors do."""
    folder.mkdir(exist_ok=True)
    draft = folder / "draft"
    draft.write_text(yaml.safe_dump_all([dict(document) for document in documents]))
    draft.rename(folder / "all.yaml")


async def eventually(condition: Callable[[], bool | Awaitable[bool]], within: float = 10.0) -> None:
    """Wait until a condition holds. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not (held if isinstance(held := condition(), bool) else await held):  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.01)


@dataclass
class Delivery:
    """What a subscriber got."""

    path: str
    headers: dict[str, str]
    event: Event
    at: float


Answer = web.Response | Callable[[Delivery], Awaitable[web.Response]]


@dataclass
class ScriptedSubscriber:
    """A real HTTP server: each path answers by its script, the last answer again and again; without one, 202."""

    url: str = ""
    got: list[Delivery] = field(default_factory=list)
    scripts: dict[str, list[Any]] = field(default_factory=dict)
    most_at_once: int = 0
    _now: int = 0

    def answer(self, path: str, *answers: Any) -> str:
        """Let `path` answer with statuses, functions of the delivery, or (status, headers, body); its URL."""
        self.scripts[path] = list(answers)
        return f"{self.url}{path}"

    def at(self, path: str) -> list[Delivery]:
        """What came to `path`."""
        return [delivery for delivery in self.got if delivery.path == path]

    async def received(self, path: str, count: int, within: float = 10.0) -> list[Delivery]:
        """What came to `path`, once it is at least `count`."""
        await eventually(lambda: len(self.at(path)) >= count, within)
        return self.at(path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        raw = [(name.lower(), value) for name, value in request.raw_headers]
        event = events.from_http(raw, body, versions=("1.0", "0.3"), check_json=False)
        named = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(request.path, named, event, time.monotonic())
        self.got.append(delivery)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await self._scripted(delivery)
        finally:
            self._now -= 1

    async def _scripted(self, delivery: Delivery) -> web.StreamResponse:
        script = self.scripts.get(delivery.path) or [202]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if callable(answer):
            answer = await answer(delivery)
        status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
        return web.Response(status=status, headers=headers, body=body)


@contextlib.asynccontextmanager
async def subscriber() -> AsyncIterator[ScriptedSubscriber]:
    """A running subscriber."""
    scripted = ScriptedSubscriber()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield scripted
    finally:
        await runner.cleanup()


def replying(event_type: str, data: Any = None) -> Callable[[Delivery], Awaitable[Any]]:
    """An answer with a reply of this type."""

    async def answer(delivery: Delivery) -> Any:
        headers, body = events.to_http(events.reply_to(delivery.event, event_type, "/scripted", data))
        return 200, headers, body

    return answer


def ping(number: int = 0, event_type: str = PING, **attributes: str) -> Event:
    """An event of the tests."""
    return events.new_event(event_type, "/test", {"n": number}, id=f"ping-{number}", **attributes)


@dataclass
class BrokerProcess:
    """`python -m knts.devbroker` as a process of its own."""

    env: dict[str, str]
    url: str
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        command = (sys.executable, "-m", "knts.devbroker")
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=self.env)
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                assert self.process.returncode is None, "the broker ended"
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.02)

    async def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for its end; its exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(sent)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def post(self, event: Event, path: str = "/default/kn-ts") -> int:
        """Publish an event; the status."""
        headers, body = events.to_http(event)
        async with aiohttp.ClientSession() as http, http.post(self.url + path, data=body, headers=headers) as response:
            return response.status

    async def post_all(self, published: Sequence[Event]) -> list[int]:
        """Publish events at once; the statuses."""
        return list(await asyncio.gather(*(self.post(event) for event in published)))

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a GET."""
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as response:
            return response.status, await response.text()

    async def metric(self, line: str) -> float:
        """The value of one line of /metrics; 0 where there is none."""
        _, text = await self.get("/metrics")
        found = [row for row in text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0].split()[-1]) if found else 0.0

    async def settled(self, line: str, value: float, within: float = 10.0) -> None:
        """Wait until a line of /metrics has this value."""

        async def there() -> bool:
            return await self.metric(line) == value

        await eventually(there, within)

    async def ready(self) -> Any:
        """What /readyz tells."""
        return json.loads((await self.get("/readyz"))[1])

    async def generation(self, more_than: int) -> None:
        """Wait until manifests newer than this generation are in force."""

        async def newer() -> bool:
            return bool((await self.ready())["generation"] > more_than)

        await eventually(newer)


def depth(trigger: str, sink: str = "subscriber") -> str:
    """The metric of a queue's depth."""
    return f'knts_broker_queue_depth{{sink="{sink}",trigger="default/{trigger}"}}'


@contextlib.asynccontextmanager
async def broker(redis_url: str, port: int, manifests: Path, **env: str) -> AsyncIterator[BrokerProcess]:
    """A running broker process, ended with the test."""
    mapping = {
        **os.environ,
        "REDIS_URL": redis_url,
        "KNTS_HOST": "127.0.0.1",
        "KNTS_BROKER_PORT": str(port),
        "KNTS_MANIFESTS": str(manifests),
        "KNTS_SUBSCRIBERS": json.dumps({}),
        "LOG_LEVEL": "WARNING",
        **env,
    }
    running = BrokerProcess(mapping, f"http://127.0.0.1:{port}")
    await running.start()
    try:
        yield running
    finally:
        await running.stop(signal.SIGKILL)
