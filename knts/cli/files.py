"""Which files a load means, and the documents in them as the server takes them."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from knts.cli.extract import SUFFIXES, Document, Refused, extract

MAX_DOCUMENT_BYTES = 900 * 1024 - 4096  # an event's limit, less its attributes
MAX_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """A file and the id that its document gets."""

    path: Path
    id: str


@dataclass(frozen=True)
class Wishes:
    """What the command line adds to every document, and how it is sent."""

    prefix: str = ""
    tags: tuple[str, ...] = ()
    acl: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    wait: bool = True
    patience: float = 120.0  # seconds without any progress after which it gives up


@dataclass
class Report:
    """What became of a load."""

    found: int = 0
    sent: int = 0
    indexed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    refused: list[dict[str, str]] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        """Note that `name` was not taken."""
        self.refused.append({"id": name, "error": why})

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for happened."""
        return not self.refused and not self.pending


def sources(paths: Sequence[str], report: Report) -> list[Source]:
    """The files that paths, folders and patterns name, each once, in order.

    A folder's files of unknown types are counted as skipped; a file that was named itself is tried whatever it is.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        named = _named(path)
        if not named:
            report.refuse(path, "there is no such file or folder")
        for one in named:
            for source in _folder(one, report) if one.is_dir() else [Source(one, one.name)]:
                found.setdefault(source.path.resolve(), source)
    return list(found.values())


def _named(path: str) -> list[Path]:
    """A file or folder, else what a pattern matches, which the shell leaves to us where it is quoted."""
    plain = Path(path).expanduser()
    if plain.exists():
        return [plain]
    return [Path(match) for match in sorted(glob.glob(str(plain), recursive=True))]  # noqa: PTH207 - may be absolute


def _folder(folder: Path, report: Report) -> Iterator[Source]:
    """A folder's files; ids start with the folder's own name, so that they don't depend on where one stands."""
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if any(part.startswith(".") for part in inner.parts) or not path.is_file():
            continue
        if path.suffix.lower() in SUFFIXES:
            yield Source(path, f"{root.name}/{inner.as_posix()}")
        else:
            report.skipped += 1


def documents(source: Source) -> list[Document | Refused]:
    """The documents of one file; what can't be read is refused, never raised."""
    try:
        size = source.path.stat().st_size
        if size > MAX_FILE_BYTES:
            return [Refused(f"is {size // 2**20} MiB large; at most {MAX_FILE_BYTES // 2**20} MiB are read")]
        return list(extract(source.id, source.path.read_bytes()))
    except Refused as refused:
        return [refused]
    except OSError as error:
        return [Refused(f"can't be read: {error.strerror or error}")]


def body(document: Document, wishes: Wishes) -> tuple[str, dict[str, Any]]:
    """The document's id and the body of its PUT, with what the command line adds.

    Raises Refused when it is too large for an event.
    """
    named = document.as_json()
    document_id = wishes.prefix + named.pop("id")
    if wishes.tags:
        named["tags"] = list(dict.fromkeys([*named.get("tags", []), *wishes.tags]))
    if wishes.acl:
        named["acl"] = list(wishes.acl)
    if wishes.metadata:
        named["metadata"] = {**named.get("metadata", {}), **wishes.metadata}
    try:
        size = len(orjson.dumps(named)) + len(document_id)
    except TypeError as error:
        raise Refused(f"can't be sent as JSON ({error})") from error
    if size > MAX_DOCUMENT_BYTES:
        raise Refused(f"is {size / 1024:,.0f} KiB as an event; at most {MAX_DOCUMENT_BYTES // 1024} KiB are. Split it")
    return document_id, named
