"""What the processes of a run use: CPU, memory and file descriptors, read from /proc by the names of the functions."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.processes import EVERYTHING, Processes
from tests.load.calls import Sample

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
LOAD = "load generator"


@dataclass
class Watch:
    """The processes of a run from its beginning. `lost` says which have gone since: a run should keep all of them."""

    pids: dict[str, int]
    samples: list[Sample] = field(default_factory=list)
    lost: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, processes: Processes, names: Iterable[str] = EVERYTHING) -> "Watch":
        """Those of a run. Raises LookupError for one that is not there."""
        found = {name: processes.pid(name) for name in names}
        if missing := [name for name, pid in found.items() if pid is None]:
            raise LookupError(f"the run lacks {', '.join(missing)}")
        return cls({name: pid for name, pid in found.items() if pid is not None})

    def take(self) -> None:
        """A sample of each."""
        for name, pid in self.pids.items():
            sample = sampled(name, pid)
            if sample is not None:
                self.samples.append(sample)
            elif name != LOAD:
                self.lost.setdefault(name, time.monotonic())

    @contextlib.asynccontextmanager
    async def watching(self, every: float = 0.5) -> AsyncIterator["Watch"]:
        """Sample every so many seconds until exit."""

        async def watch() -> None:
            while True:
                self.take()
                await asyncio.sleep(every)

        task = asyncio.create_task(watch())
        try:
            yield self
        finally:
            task.cancel()
            self.take()


def sampled(name: str, pid: int) -> Sample | None:
    """What a process has used until now; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, cpu_seconds, rss_mib = read_stat(stat)
    return None if state in "ZX" else Sample(time.monotonic(), name, cpu_seconds, rss_mib, descriptors)


def read_stat(stat: str) -> tuple[str, float, float]:
    """State, CPU seconds of all its threads and resident MiB of a /proc/<pid>/stat; a name may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_MIB
