"""Reads the manifests' files as kustomize would, and reads them again when one of them changes."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from knts.devbroker import manifests
from knts.devbroker.fields import Field, ManifestError
from knts.devbroker.manifests import Plan

log = logging.getLogger(__name__)

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml")
_IGNORED = ("apiVersion", "kind", "metadata", "labels", "commonLabels")

Stamps = dict[str, tuple[int, int]]  # by file or folder: its time of change and its size, before it was read


@dataclass
class Manifests:
    """The plan in force, from the folder or file `path`; a broken edit leaves it as it is and is told in `fault`."""

    path: Path
    subscribers: Mapping[str, str]
    plan: Plan = field(default_factory=Plan, init=False)
    fault: str = field(default="", init=False)
    generation: int = field(default=0, init=False)
    _stamps: Stamps = field(default_factory=dict, init=False)

    def load(self) -> None:
        """Read everything. Raises ManifestError, with the plan unchanged."""
        documents, self._stamps, namespace = read(self.path)
        self.plan = manifests.plan(documents, self.subscribers, namespace)
        self.generation += 1

    def refresh(self) -> bool:
        """Read again if a file has changed; whether there is a new plan."""
        try:
            if all(_stamp(name) == stamp for name, stamp in self._stamps.items()):
                return False
            self.load()
        except ManifestError as error:
            if self.fault != str(error):
                log.error("the manifests are not taken, the earlier ones stay in force: %s", error)
            self.fault = str(error)
            return False
        self.fault = ""
        log.info("manifests read", extra={"triggers": len(self.plan.triggers())})
        return True

    async def watch(self, changed: Callable[[], None], every: float = 0.5) -> None:
        """Look for changes each `every` seconds, for ever; `changed` is called after each new plan."""
        while True:
            await asyncio.sleep(every)
            if self.refresh():
                changed()


def read(path: Path) -> tuple[list[tuple[str, Any]], Stamps, str]:
    """Every YAML document under `path` with its file's name, what was read, and the namespace. Raises ManifestError."""
    found: list[tuple[str, Any]] = []
    files: Stamps = {}
    namespaces: list[str] = []
    for file in _files(path, files, namespaces):
        found += [(str(file), document) for document in _documents(file)]
    return found, files, (namespaces or ["default"])[0]


def _files(path: Path, seen: Stamps, namespaces: list[str]) -> Iterator[Path]:
    if str(path) in seen:
        raise ManifestError(f"{path}: is named twice")
    seen[str(path)] = _stamp(str(path))
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise ManifestError(f"{path}: there is no such file or folder")
    listed = next((path / name for name in KUSTOMIZATIONS if (path / name).is_file()), None)
    if listed is None:
        for file in sorted([*path.glob("*.yaml"), *path.glob("*.yml")]):
            yield from _files(file, seen, namespaces)
        return
    seen[str(listed)] = _stamp(str(listed))
    for document in _documents(listed):
        kustomization = Field(str(listed), "", document).only(*_IGNORED, "namespace", "resources")
        if kustomization["namespace"]:
            namespaces.append(kustomization["namespace"].text())
        for resource in kustomization["resources"].items():
            yield from _files((path / resource.text()).resolve(), seen, namespaces)


def _documents(file: Path) -> list[Any]:
    try:
        return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ManifestError(f"{file}: can't be read as YAML: {' '.join(str(error).split())}") from error


def _stamp(name: str) -> tuple[int, int]:
    try:
        stat = Path(name).stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size
