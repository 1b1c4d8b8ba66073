"""Child processes that die with us, log to a file, are awaited with a deadline and stopped in order."""

import contextlib
import ctypes
import itertools
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)
TAIL_LINES = 15
PATIENCE = 4.0  # seconds between two words about a long wait
PORTS = range(15_000, 30_000)  # below Kubernetes' node ports and what Linux gives to outgoing connections (from 32,768)
_BEGIN = secrets.randbelow(len(PORTS))
_ports: Iterator[int] = itertools.cycle((*PORTS[_BEGIN:], *PORTS[:_BEGIN]))


class LocalError(Exception):
    """The local run can't go on; the message is for the user and says what would help."""


@dataclass
class Child:
    """A started process and the file that takes its output."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def stop(self, grace: float = 10.0) -> None:
        """Ask it to stop by SIGTERM and end it by SIGKILL after `grace` seconds; returns when it is gone."""
        if self.running:
            self.popen.terminate()
        try:
            self.popen.wait(grace)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def tail(self) -> str:
        """The last lines of its log, indented, for an error message."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(f"    {line[:300]}" for line in lines) or "    (its log is empty)"


def start(name: str, args: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> Child:
    """Start a process whose output is appended to `log` and which the kernel kills when the calling THREAD ends.

    So call it from a thread that lives as long as the child should, as a rule the main one. Raises LocalError when the
    program can't be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getpid()

    def tie_to_parent() -> None:
        if _prctl is None:  # not Linux: there the children of a killed parent must be stopped by hand
            return
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    try:
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(arg) for arg in args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ if env is None else env),
                preexec_fn=tie_to_parent,  # safe beside threads: only prctl and getppid, looked up before the fork
                start_new_session=True,  # Ctrl-C reaches only us: we stop the children in order
            )
    except OSError as error:
        raise LocalError(f"{name} can't be started ({args[0]}: {error.strerror})") from error
    return Child(name, log, popen)


def wait_until(
    ready: Callable[[], bool], child: Child, *, seconds: float, say: Callable[[str], None] = lambda _: None
) -> None:
    """Return once `ready()` is true; a long wait is said now and then.

    Raises LocalError, with the log's tail, when the child ends or time is up.
    """
    began = time.monotonic()
    deadline, say_at = began + seconds, began + PATIENCE
    while not ready():
        if not child.running:
            raise LocalError(f"{child.name} ended at start with status {child.popen.returncode}; {_log_of(child)}")
        if time.monotonic() > deadline:
            raise LocalError(f"{child.name} was not ready after {seconds:g} s; {_log_of(child)}")
        if time.monotonic() > say_at:
            say(f"  waiting for {child.name} ({time.monotonic() - began:.0f} s)")
            say_at += PATIENCE
        time.sleep(0.05)


def _log_of(child: Child) -> str:
    return f"the end of {child.log}:\n{child.tail()}"


def http_status(url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 where nobody answers. Proxies are not asked: these are our own addresses."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - an address of our own servers
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return error.code, error.read()
    except (OSError, ValueError):
        return 0, b""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that nobody is likely to take before it is used.

    So it lies below those that the kernel gives to outgoing connections, no port is given twice by a process, and
    each process begins somewhere else.
    """
    for port in itertools.islice(_ports, len(PORTS)):
        if not port_taken(port):
            return port
    raise LocalError(f"no port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1} is free")


def port_taken(port: int) -> bool:
    """Whether 127.0.0.1:`port` can't be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
