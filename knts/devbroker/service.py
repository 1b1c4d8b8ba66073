"""Start-up and shutdown of the development broker."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from knts import telemetry
from knts.clients.redis import check_durable, connected
from knts.devbroker import sending
from knts.devbroker.dispatch import Dispatcher
from knts.devbroker.ingress import Ingress
from knts.devbroker.loading import Manifests
from knts.devbroker.store import Store
from knts.devbroker.tap import Tap
from knts.devbroker.watching import Watcher
from knts.settings import DurableRedis, addresses, positive_int, read, seconds, setting, tcp_port

log = logging.getLogger(__name__)

RECEIVE_BYTES = 32 * 1024  # of a connection's body before anybody asks for it


@dataclass(frozen=True)
class BrokerSettings:
    """What the development broker reads beside `REDIS_URL`."""

    manifests: str = setting("KNTS_MANIFESTS", "folder or file with Broker and Trigger manifests")
    subscribers: Mapping[str, str] = setting(
        "KNTS_SUBSCRIBERS", "JSON object: the http(s) URL of each Knative Service by name", parse=addresses
    )
    host: str = setting("KNTS_HOST", "address to listen on", "127.0.0.1")
    port: int = setting("KNTS_BROKER_PORT", "TCP port to listen on", 8081, parse=tcp_port)
    cap: int = setting(
        "KNTS_BROKER_QUEUE", "events that may wait for one Trigger; more are answered 503", 10_000, parse=positive_int
    )
    consumer: str = setting("KNTS_BROKER_NAME", "this broker's name; keep it, so that it finds its own again", "broker")
    grace: float = setting(
        "KNTS_SHUTDOWN_GRACE", "seconds that deliveries under way may take after SIGTERM", 25.0, parse=seconds
    )
    body_timeout: float = setting(
        "KNTS_BODY_TIMEOUT", "seconds that a request's body may take to arrive", 10.0, parse=seconds
    )
    head_timeout: float = setting(
        "KNTS_HEAD_TIMEOUT", "seconds for a request's head, and that a connection may idle", 15.0, parse=seconds
    )


@contextlib.asynccontextmanager
async def broker(env: Mapping[str, str]) -> AsyncIterator[str]:
    """The running broker; yields its address. Raises SettingsError, ManifestError or Temporary when it can't start."""
    settings = read(BrokerSettings, env)
    manifests = Manifests(Path(settings.manifests), settings.subscribers)
    manifests.load()
    watcher = Watcher(Tap())
    durable = read(DurableRedis, env)
    async with connected(durable.url) as redis, sending.session() as http:
        store = Store(redis, cap=settings.cap, consumer=settings.consumer, replicas=durable.replicas)
        await store.start()
        for fault in await check_durable(redis):
            log.warning("REDIS_URL may lose accepted events: %s", fault)
        dispatcher = Dispatcher(store, http, watcher)
        ingress = Ingress(dispatcher, manifests, store, watcher, settings.body_timeout)
        async with store.running(), _working(dispatcher, manifests):
            async with _listening(ingress, settings) as address:
                yield address
                dispatcher.stop()
            await dispatcher.close(settings.grace)


@contextlib.asynccontextmanager
async def _working(dispatcher: Dispatcher, manifests: Manifests) -> AsyncIterator[None]:
    dispatcher.follow(manifests.plan)
    tasks = [
        asyncio.create_task(dispatcher.sweep()),
        asyncio.create_task(manifests.watch(lambda: dispatcher.follow(manifests.plan))),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _listening(ingress: Ingress, settings: BrokerSettings) -> AsyncIterator[str]:
    runner = web.AppRunner(
        ingress.app(),
        access_log=None,
        keepalive_timeout=settings.head_timeout,
        shutdown_timeout=2.0,
        lingering_time=2.0,
        read_bufsize=RECEIVE_BYTES,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, _listener(settings.host, settings.port), backlog=1024).start()
        yield f"http://{settings.host}:{settings.port}"
    finally:
        await runner.cleanup()


def _listener(host: str, port: int) -> socket.socket:
    """A socket whose connections take in no more than is read at once: a paused one would hold a whole event."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return listener


async def serve(env: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    telemetry.start("broker", env)
    try:
        async with broker(env) as address:
            log.info("the broker listens on %s", address)
            await stop.wait()
            log.info("the broker stops")
    finally:
        telemetry.stop()
