"""How long a new user waits: `make run` from a clean clone to its first documents, and again; `make test` by `--test`.

The clone, its state and all caches lie in a temporary folder, and what pip downloads comes over your own network. The
phases are told by what `make run` prints.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.measure import machine, table
from knts.local.process import free_port

ROOT = Path(__file__).resolve().parent.parent
PHASES = (  # each ends with the first line that holds these words
    ("a virtual environment", "installing requirements"),
    ("packages, downloads included", "kn-ts is starting"),
    ("Redis, Typesense, the models", "embedder is ready"),
    ("the broker", "broker is ready"),
    ("the functions, to the page", "kn-ts is up"),
    ("the first documents", "are indexed"),
)
Line = tuple[float, str]


def phases(lines: Iterable[Line]) -> Iterator[tuple[str, float]]:
    """The seconds of each phase that took place, from lines with the seconds since the start at which they came."""
    began, left = 0.0, list(PHASES)
    for at, text in lines:
        ends = next((number for number, (_, words) in enumerate(left) if words in text), None)
        if ends is None:
            continue
        yield left[ends][0], at - began
        began, left = at, left[ends + 1 :]


def run(clone: Path, env: dict[str, str], last: str) -> Iterator[Line]:
    """The lines of a `make run` up to the one that holds `last`; it is stopped as by Ctrl-C afterwards.

    SystemExit where it ends before.
    """
    began = time.monotonic()
    command = subprocess.Popen(
        ["make", "run"], cwd=clone, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert command.stdout is not None
    try:
        for text in command.stdout:
            yield time.monotonic() - began, text
            if last in text:
                return
        raise SystemExit(f"`make run` ended with status {command.wait()} before it said “{last}”")
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGINT)
            command.communicate(timeout=60)


def clean_environment(folder: Path) -> dict[str, str]:
    """The user's environment without caches and settings of kn-ts: a home of its own, ports that are free."""
    kept = {name: value for name, value in os.environ.items() if not re.match(r"KNTS_|OLLAMA_|REDIS_|TYPESENSE_", name)}
    ports = {"KNTS_PORT": str(free_port()), "KNTS_BROKER_PORT": str(free_port())}
    return {**kept, **ports, "HOME": str(folder), "PIP_CACHE_DIR": str(folder / "pip"), "PYTHON": sys.executable}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the status of `make test` where that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--test", action="store_true", help="then `make test` in the same clone, timed")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="knts-start-") as folder:
        clone, env = Path(folder) / "kn-ts", clean_environment(Path(folder))
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        first = list(phases(list(run(clone, env, PHASES[-1][1]))))
        if unseen := {what for what, _ in PHASES} - {what for what, _ in first}:
            raise SystemExit(f"`make run` did not tell where these end: {', '.join(sorted(unseen))}")
        rows: list[Sequence[object]] = [("first", what, seconds) for what, seconds in first]
        rows.append(("first", "all of it", sum(seconds for _, seconds in first)))
        again = list(run(clone, env, "kn-ts is up"))
        rows.append(("second", "all of it, to the page", again[-1][0]))
        status = 0
        if arguments.test:
            began = time.monotonic()
            status = subprocess.run(["make", "test"], cwd=clone, env=env, check=False).returncode
            rows.append(("`make test`", "its own packages included", time.monotonic() - began))
    print(f"{machine()}; a clean clone, empty caches\n\n{table(('start', 'what', 'seconds'), rows)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
