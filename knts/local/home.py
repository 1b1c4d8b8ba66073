"""The folder of a local run (`.knts/`): its lock, its secrets, its ports and what runs now."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knts.local.process import LocalError, free_port, port_taken

LOG_BYTES = 10 * 1024 * 1024


class Home:
    """State on disk; only the holder of the lock writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. Raises LocalError when another run has it or it can't be written."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise LocalError(
                f"{self.folder} can't be used ({error.strerror}); set KNTS_HOME to another folder"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise LocalError(
                    f"kn-ts runs already on {self.folder} (process {lock.read().strip() or 'unknown'}): stop it there "
                    "with Ctrl-C, or set KNTS_HOME, KNTS_PORT and KNTS_BROKER_PORT for a second one"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def secret(self, name: str) -> str:
        """The secret of this name, made at first use; only its owner can read the file."""
        path = self.folder / "secrets" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and (kept := path.read_text().strip()):
            return kept
        made = secrets.token_hex(32)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made)
        part.replace(path)
        return made

    def data(self, name: str) -> Path:
        return self.folder / "data" / name

    def log(self, name: str) -> Path:
        """The log file of a process; one that has grown large is put aside first."""
        path = self.folder / "logs" / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    def ports(self, names: list[str]) -> dict[str, int]:
        """A port for each name: the one of the last run while it is free, since Typesense comes back faster on it."""
        kept = self.run().get("ports", {})
        ports: dict[str, int] = {}
        for name in names:
            port = kept.get(name)
            usable = isinstance(port, int) and port not in ports.values() and not port_taken(port)
            ports[name] = port if usable else free_port()
        return ports

    def run(self) -> dict[str, Any]:
        """What `run.json` says about the last start; empty where there was none or it was cut short."""
        try:
            said = json.loads((self.folder / "run.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def note_run(self, said: dict[str, Any]) -> None:
        """Write `run.json`, whole or not at all."""
        part = self.folder / "run.json.part"
        part.write_text(json.dumps(said, indent=2) + "\n")
        part.replace(self.folder / "run.json")

    def done(self, step: str) -> bool:
        """Whether a step that happens once has been finished here."""
        return (self.folder / f"{step}.done").exists()

    def note_done(self, step: str) -> None:
        (self.folder / f"{step}.done").touch()
