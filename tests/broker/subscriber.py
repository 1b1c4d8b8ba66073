"""A subscriber that keeps what it gets and answers by script. It runs in a thread, so that a session can share it."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 60.0  # a loaded machine; nothing waits so long when all is well


@dataclass(frozen=True)
class Got:
    """One request: its path, its headers in lower case, its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["ce-id"]


Said = tuple[int, Mapping[str, str], bytes]
Answer = int | Said | Callable[[Got], Said]


@dataclass
class Subscriber:
    """`scripts` holds a path's answers: each in turn for an event, the last again and again; without one, 202."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    scripts: dict[str, list[Answer]] = field(default_factory=dict)
    _server: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, host: str) -> None:
        """Listen on a free port of this address."""
        subscriber = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                subscriber.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Keep the request and answer it."""
        body = _body(request)
        got = Got(request.path, {name.lower(): value for name, value in request.headers.items()}, body)
        with self._lock:
            before = sum(
                (each.path, each.headers.get("ce-id")) == (got.path, got.headers.get("ce-id")) for each in self.got
            )
            self.got.append(got)
        script = self.scripts.get(got.path) or [202]
        answer = script[min(before, len(script) - 1)]
        if callable(answer):
            answer = answer(got)
        status, headers, said = (answer, {}, b"") if isinstance(answer, int) else answer
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(said)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # a Broker whose time-out is over has gone
            request.wfile.write(said)

    def at(self, path: str) -> list[Got]:
        """What came to `path` so far."""
        with self._lock:
            return [got for got in self.got if got.path == path]

    def received(self, path: str, count: int = 1, event_id: str = "") -> list[Got]:
        """What came to `path` (of that event), once it is at least `count`."""

        def there() -> list[Got]:
            return [got for got in self.at(path) if event_id in ("", got.id)]

        eventually(lambda: len(there()) >= count, f"{count} deliveries at {path}")
        return there()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fails when it does not come to hold."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.05)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
