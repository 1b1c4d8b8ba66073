"""Starts units stage by stage, starts again what ends, and stops all of it in the opposite order.

All of it happens in the thread that calls: the kernel ties each child to the thread that started it.
"""

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from knts.local.process import Child, http_status, start, wait_until

POLL_SECONDS = 0.2
STEADY_SECONDS = 30.0  # a unit that ran this long is started again at once when it ends
STOP_SECONDS = 10.0
Say = Callable[[str], None]


class Startable(Protocol):
    """What the supervisor needs of a server or program."""

    name: str

    def start(self) -> Child: ...
    def ready(self) -> bool: ...


@dataclass
class Program:
    """One of our own Python programs, ready when its /readyz says so."""

    name: str
    module: str
    env: Mapping[str, str]
    log: Path
    url: str

    def start(self) -> Child:
        """Start it; it is not ready yet."""
        return start(self.name, [sys.executable, "-m", self.module], log=self.log, env=self.env)

    def ready(self) -> bool:
        """Whether it and what it depends on answer."""
        return http_status(f"{self.url}/readyz", timeout=6)[0] == 200


@dataclass
class Unit:
    """One startable and its life so far."""

    what: Startable
    child: Child | None = None
    started_at: float = 0.0
    crashes: int = 0
    restart_at: float | None = None

    @property
    def name(self) -> str:
        return self.what.name

    def start(self) -> Child:
        """Start it now."""
        self.restart_at, self.started_at = None, time.monotonic()
        self.child = self.what.start()
        return self.child


def back_off(crashes: int) -> float:
    """Seconds before the n-th start in a row: at once, then 0.5, 1, 2, … up to 15."""
    return 0.0 if crashes <= 1 else min(15.0, 0.25 * 2.0 ** (crashes - 1))


@dataclass
class Supervisor:
    """Units by stage; a later stage needs the earlier ones."""

    stages: Sequence[Sequence[Startable]]
    say: Say = print
    seconds: float = 60.0
    units: list[list[Unit]] = field(default_factory=list)

    def start(self) -> None:
        """Start every stage and wait until it is ready. Raises LocalError for the first unit that isn't."""
        for stage in self.stages:
            began = time.monotonic()
            units = [Unit(what) for what in stage]
            self.units.append(units)
            for unit in units:
                unit.start()
            for unit in units:
                assert unit.child is not None  # noqa: S101 - started above
                wait_until(unit.what.ready, unit.child, seconds=self.seconds, say=self.say)
                self.say(f"  {unit.name} is ready ({time.monotonic() - began:.1f} s)")

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Start again whatever ends, until `until()` or an exception such as KeyboardInterrupt."""
        while not until():
            for unit in (unit for stage in self.units for unit in stage):
                self.tend(unit, time.monotonic())
            time.sleep(POLL_SECONDS)

    def tend(self, unit: Unit, now: float) -> None:
        """Notice that a unit has ended, or start it again when its time has come."""
        if unit.child is None or unit.child.running:
            return
        if unit.restart_at is None:
            unit.crashes = 1 if now - unit.started_at > STEADY_SECONDS else unit.crashes + 1
            unit.restart_at = now + back_off(unit.crashes)
            self.say(f"  {unit.name} ended ({ending(unit.child.popen.returncode)}); starting it again")
        if now >= unit.restart_at:
            unit.start()

    def stop(self) -> None:
        """Stop every unit, the last stage first; within a stage all at once. Nothing is left afterwards."""
        for stage in reversed(self.units):
            children = [unit.child for unit in stage if unit.child is not None]
            for child in children:
                if child.running:
                    child.popen.terminate()
            for child in children:
                child.stop(STOP_SECONDS)

    def kill(self) -> None:
        """End every unit at once."""
        for unit in (unit for stage in self.units for unit in stage):
            if unit.child is not None and unit.child.running:
                unit.child.popen.kill()


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"status {status}"
    return f"by {signal.Signals(-status).name}"
