"""What must hold before anything is started, each fault as a sentence that says what would help."""

import os
import platform
import re
import shutil
import sys
from pathlib import Path

from knts.local.process import port_taken
from knts.local.settings import LocalSettings

MIN_PYTHON = (3, 11)
MIN_FREE_MB = 600  # Typesense's joined binary, and room for first documents
OWN_SERVERS = """the embedded Typesense and the packaged model exist for Linux on x86_64 only, and this is {here}.
Start the official images instead (see docs/local.md) and point at them:
    docker compose up -d
    export TYPESENSE_URL=http://127.0.0.1:8108 TYPESENSE_API_KEY=kn-ts-local
    export REDIS_URL=redis://127.0.0.1:6379/0 REDIS_CACHE_URL=redis://127.0.0.1:6380/0
    export OLLAMA_URL=http://127.0.0.1:11434 OLLAMA_MODEL=smollm2:135m
    make run"""


def faults(settings: LocalSettings) -> list[str]:
    """Everything that stands against a start; empty when nothing does."""
    found = [
        python_fault(sys.version_info[:2]),
        platform_fault(settings, sys.platform, platform.machine()),
        disk_fault(Path(settings.home)),
        pair_fault(settings),
        port_fault(settings.port, "KNTS_PORT"),
    ]
    if settings.embeddings == "ollama" and not settings.embed_model:
        found.append("KNTS_EMBEDDINGS is ollama: name the model by OLLAMA_EMBED_MODEL, such as all-minilm")
    if settings.semantic and settings.embeddings == "off":
        found.append("KNTS_SEMANTIC is on and KNTS_EMBEDDINGS is off: wordings are compared by their embeddings")
    if settings.sink is None:
        found.append(port_fault(settings.broker_port, "KNTS_BROKER_PORT"))
    if settings.sink is None and settings.port == settings.broker_port:
        found.append(f"KNTS_PORT and KNTS_BROKER_PORT are both {settings.port}; give them different ports")
    return [fault for fault in found if fault]


def python_fault(version: tuple[int, ...]) -> str | None:
    """Whether this Python is too old."""
    if version >= MIN_PYTHON:
        return None
    wanted, here = (".".join(map(str, each)) for each in (MIN_PYTHON, version))
    return f"kn-ts needs Python {wanted} or newer; this is {here}"


def platform_fault(settings: LocalSettings, system: str, machine: str) -> str | None:
    """Whether a server would have to be embedded that has no wheel for this machine."""
    own = (settings.redis_url, settings.redis_cache_url, settings.typesense_url, settings.ollama_url)
    if (system == "linux" and machine.lower() in ("x86_64", "amd64")) or all(own):
        return None
    return OWN_SERVERS.format(here=f"{system} on {machine}")


def disk_fault(home: Path, free_bytes: int | None = None) -> str | None:
    """Whether the disk of the state folder is nearly full."""
    there = next(folder for folder in (home.resolve(), *home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes
    if free >= MIN_FREE_MB << 20:
        return None
    return f"{there} has {free >> 20} MB free, {MIN_FREE_MB} are needed; make room or set KNTS_HOME to another disk"


def pair_fault(settings: LocalSettings) -> str | None:
    """Whether Typesense's address is given without its key."""
    if settings.typesense_url and not settings.typesense_key:
        return "TYPESENSE_URL is set and TYPESENSE_API_KEY is not; give its key too"
    return None


def port_fault(port: int, name: str) -> str | None:
    """Whether the port can't be had, and why: who listens on it, or that it is the system's."""
    if not port_taken(port):
        return None
    if port < unprivileged_ports() and os.geteuid() != 0:
        return f"port {port} is kept for the system's own services; set {name} to one of {unprivileged_ports()} or more"
    return f"port {port} is in use by {listener(port)}; stop that or set {name} to another port"


def unprivileged_ports(told: Path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")) -> int:
    """The first port that anybody may listen on."""
    return int(told.read_text()) if told.exists() else 1024


def listener(port: int, proc: Path = Path("/proc")) -> str:
    """The process that listens on a port, as far as /proc lets us see it."""
    inodes = _inodes(port, proc)
    for link in proc.glob("[0-9]*/fd/*") if inodes else ():
        try:
            target = str(link.readlink())
        except OSError:  # gone meanwhile, or another user's
            continue
        if target in inodes:
            pid = link.parts[-3]
            return f"{(proc / pid / 'comm').read_text().strip()} (process {pid})"
    return "another process"


def _inodes(port: int, proc: Path) -> set[str]:
    found: set[str] = set()
    for table in (proc / "net" / "tcp", proc / "net" / "tcp6"):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = re.split(r"\s+", line.strip())
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
