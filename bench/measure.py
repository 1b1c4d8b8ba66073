"""How every benchmark measures: closed loops, percentiles, and a table with the floor of the same run."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """Latencies in seconds of one closed loop, in the order they ended, and the loop's wall-clock seconds."""

    seconds: list[float]
    wall: float

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that `share` (0 to 1) of the calls stayed under."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.seconds) / self.wall


async def closed_loop(call: Callable[[int], Awaitable[object]], *, calls: int, at_once: int = 1) -> Sample:
    """Call `call(0)` … `call(calls - 1)`, `at_once` at a time, each started when one before it has ended."""
    numbers = iter(range(calls))
    seconds: list[float] = []

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await call(number)
            seconds.append(time.perf_counter() - started)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return Sample(seconds, time.perf_counter() - begun)


def machine() -> str:
    """The machine in a few words, for the head of each report."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
    cores = sum(1 for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor"))
    return f"{cpu}, {cores} cores, Python {platform.python_version()}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *texts]) for column in range(len(head))]
    lines = [list(head), ["-" * width for width in widths], *texts]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
