"""A whole local run of its own for a benchmark: free ports, a temporary home, stopped at the end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knts.local.process import free_port

START_SECONDS = 180.0


@dataclass(frozen=True)
class Road:
    """Addresses of a running local run, and its home folder."""

    api: str
    broker: str
    home: Path

    def address(self, name: str) -> str:
        """One of the servers' addresses by its environment name, such as TYPESENSE_URL."""
        return str(json.loads((self.home / "run.json").read_text())["env"][name])

    @property
    def model(self) -> str:
        """The model that answers."""
        return str(json.loads((self.home / "run.json").read_text())["model"])

    def secret(self, name: str) -> str:
        """One of the secrets of this home."""
        return (self.home / "secrets" / name).read_text().strip()


@contextlib.contextmanager
def road(**more: str) -> Iterator[Road]:
    """Start `python -m knts.local` with these settings too and wait until its API is ready."""
    with tempfile.TemporaryDirectory(prefix="knts-bench-") as folder:
        home, port, broker_port = Path(folder), free_port(), free_port()
        env = {
            **os.environ,
            "KNTS_HOME": str(home),
            "KNTS_PORT": str(port),
            "KNTS_BROKER_PORT": str(broker_port),
            "KNTS_FIRST_DOCUMENTS": "none",
            "LOG_LEVEL": "WARNING",
            "KNTS_EMBEDDINGS": "off",  # a model that embeds beside what is measured would be measured too
            **more,
        }
        process = subprocess.Popen([sys.executable, "-m", "knts.local"], env=env, stdout=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", process)
            yield Road(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{broker_port}/default/kn-ts", home)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the local run ended before it was ready")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return
        time.sleep(0.2)
    raise SystemExit(f"{url} was not ready within {START_SECONDS:g} s")
