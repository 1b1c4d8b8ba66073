"""A function as its own process: it starts without its dependencies, says so, and ends with status 0 on SIGTERM."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable


def test_sigterm_ends_a_function_with_status_0(free_port: Callable[[], int]) -> None:
    port, nowhere = free_port(), free_port()
    env = {
        **os.environ,
        "FUNCTION_TARGET": "index-document",
        "PORT": str(port),
        "KNTS_HOST": "127.0.0.1",
        "KNTS_SIGNING_KEY": "key",
        "REDIS_URL": f"redis://127.0.0.1:{nowhere}",
        "TYPESENSE_URL": f"http://127.0.0.1:{nowhere}",
        "TYPESENSE_API_KEY": "key",
    }
    with subprocess.Popen([sys.executable, "-m", "knts.serve"], env=env) as process:
        try:
            assert answered(f"http://127.0.0.1:{port}/healthz") == 200
            assert answered(f"http://127.0.0.1:{port}/readyz") == 503
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def answered(url: str, patience: float = 30.0) -> int:
    """The status that the URL answers with, once something listens there."""
    end = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
