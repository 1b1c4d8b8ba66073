"""A running kn-ts for the end-to-end tests: started here as `make run` starts it, or somebody else's."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from knts.local.process import free_port, http_status

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0


@dataclass
class Road:
    """A running kn-ts. `home` and `process` are None where it was started by somebody else."""

    base_url: str
    broker_url: str
    home: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def pids(self, **env: str) -> list[int]:
        """The processes that this run has started and that have these variables in their environment."""
        if self.process is None:
            pytest.skip("needs the processes of a local run")
        wanted = {f"{name}={value}".encode() for name, value in env.items()}
        return [pid for pid in descendants(self.process.pid) if wanted <= environment(pid)]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it by a signal; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs too."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found += [child := int(stat.parent.name), *descendants(child)]
    return found


def environment(pid: int) -> set[bytes]:
    """A process's environment, as NAME=value; nothing for one that has gone or is another user's."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()


def start_road(home: Path, **env: str) -> Road:
    """Start a local run and wait until its page answers.

    Without embeddings unless they are asked for: those of a corpus would keep the machine busy beside what is tested.
    """
    ports = {"KNTS_PORT": str(free_port()), "KNTS_BROKER_PORT": str(free_port())}
    ours = {**ports, "KNTS_HOME": str(home), "PYTHONPATH": str(ROOT), "KNTS_EMBEDDINGS": "off"}
    given = {**os.environ, **ours, **env}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "said").open("ab") as said:
        process = subprocess.Popen([sys.executable, "-m", "knts.local"], env=given, stdout=said, stderr=said)
    base, broker = (f"http://127.0.0.1:{given[name]}" for name in ports)
    road = Road(base, f"{broker}/default/kn-ts", home, process)
    deadline = time.monotonic() + START_SECONDS
    while http_status(f"{base}/readyz")[0] != 200 or "is up after" not in (home / "said").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the road did not come up:\n{(home / 'said').read_text()[-4000:]}")
        time.sleep(0.1)
    return road
