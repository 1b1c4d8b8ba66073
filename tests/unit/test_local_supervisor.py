"""The supervisor starts by stage, starts again what ends, and leaves nothing behind."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from knts.local.process import Child, LocalError, start
from knts.local.supervisor import STEADY_SECONDS, Supervisor, Unit, back_off, ending


@dataclass
class Script:
    """A shell script as a unit; it writes its name to `story` when it is asked to stop."""

    name: str
    folder: Path
    body: str = "while :; do sleep 0.05; done"
    never_ready: bool = False
    children: list[Child] = field(default_factory=list)

    def start(self) -> Child:
        said = (
            f"trap 'echo {self.name} >>{self.folder}/story; exit 0' TERM; : >{self.folder}/{self.name}.up; {self.body}"
        )
        self.children.append(start(self.name, ["/bin/sh", "-c", said], log=self.folder / f"{self.name}.log"))
        return self.children[-1]

    def ready(self) -> bool:
        return not self.never_ready and (self.folder / f"{self.name}.up").exists()


def quiet(_: str) -> None:
    pass


def test_stages_stop_in_the_opposite_order(tmp_path: Path) -> None:
    units = [Script(name, tmp_path) for name in ("redis", "broker", "search")]
    supervisor = Supervisor([[unit] for unit in units], quiet)
    supervisor.start()
    supervisor.stop()
    assert (tmp_path / "story").read_text().split() == ["search", "broker", "redis"]
    assert not any(unit.children[0].running for unit in units)


def test_what_ends_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    unit = Script("search", tmp_path)
    supervisor = Supervisor([[unit]], said.append)
    supervisor.start()
    try:
        os.kill(unit.children[0].popen.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        supervisor.watch(lambda: len(unit.children) == 2 or time.monotonic() > deadline)
        assert len(unit.children) == 2
        assert unit.children[1].running
        assert any("search ended (by SIGKILL)" in line for line in said)
    finally:
        supervisor.stop()


def test_a_crash_loop_backs_off_and_a_steady_unit_starts_afresh(tmp_path: Path) -> None:
    script = Script("search", tmp_path, body="exit 3")
    unit = Unit(script)
    supervisor = Supervisor([], quiet)
    unit.start()
    script.children[-1].popen.wait()
    supervisor.tend(unit, unit.started_at)
    assert (len(script.children), unit.crashes) == (2, 1)
    script.children[-1].popen.wait()
    ended_at = unit.started_at
    supervisor.tend(unit, ended_at)
    assert (len(script.children), unit.crashes) == (2, 2)
    supervisor.tend(unit, ended_at + back_off(2))
    assert len(script.children) == 3
    script.children[-1].popen.wait()
    supervisor.tend(unit, unit.started_at + STEADY_SECONDS + 1)
    assert (len(script.children), unit.crashes) == (4, 1)
    script.children[-1].stop()


def test_back_off_grows_to_a_bound() -> None:
    waits = [back_off(crashes) for crashes in range(1, 12)]
    assert waits[:4] == [0.0, 0.5, 1.0, 2.0]
    assert waits == sorted(waits)
    assert waits[-1] == 15.0


def test_a_unit_that_ends_at_start_is_told_with_its_log(tmp_path: Path) -> None:
    unit = Script("search", tmp_path, body="echo the port is bad; exit 7", never_ready=True)
    supervisor = Supervisor([[unit]], quiet)
    with pytest.raises(LocalError, match=r"search ended at start with status 7(.|\n)*the port is bad"):
        supervisor.start()
    supervisor.stop()


def test_a_unit_that_never_gets_ready_is_told(tmp_path: Path) -> None:
    unit = Script("search", tmp_path, never_ready=True)
    supervisor = Supervisor([[unit]], quiet, seconds=0.2)
    with pytest.raises(LocalError, match=r"search was not ready after 0\.2 s"):
        supervisor.start()
    supervisor.stop()
    assert not unit.children[0].running


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no-such-program"):
        start("x", ["/no-such-program"], log=tmp_path / "log")


def test_endings_in_words() -> None:
    assert ending(2) == "status 2"
    assert ending(-signal.SIGKILL) == "by SIGKILL"
