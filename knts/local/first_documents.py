"""Loads the repository's own docs at the first start, through the HTTP API as anybody would."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path


def found(root: Path, places: Iterable[str]) -> list[Path]:
    """The Markdown files at these places (files and folders, relative to `root`), in a steady order."""
    files: list[Path] = []
    for place in places:
        path = root / place
        files += [path] if path.is_file() else sorted(path.rglob("*.md"))
    return files


def document(path: Path, root: Path) -> dict[str, object]:
    """The document of one Markdown file: its first heading is the title; its id is its path."""
    text = path.read_text(encoding="utf-8")
    heading = next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")), path.stem)
    name = path.relative_to(root).as_posix()
    return {"id": name, "title": heading, "text": text, "lang": "en", "tags": ["kn-ts"]}


def load(api: str, root: Path, places: Iterable[str], say: Callable[[str], None]) -> bool:
    """Send each file by PUT; whether all were taken. What was refused is told and does not stop the rest."""
    files = found(root, places)
    refused = [why for path in files if (why := _put(api, document(path, root)))]
    for why in refused:
        say(f"  {why}")
    say(f"  loaded {len(files) - len(refused)} of kn-ts' own documents")
    return not refused


def _put(api: str, said: dict[str, object]) -> str | None:
    """Send one document; why it was refused, if it was."""
    name = str(said.pop("id"))
    url = f"{api}/v1/documents/{urllib.parse.quote(name, safe='')}"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(said).encode(), method="PUT", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - our own ingress
            return None
    except urllib.error.HTTPError as error:
        return f"{name} was refused: {error.read()[:300].decode(errors='replace')}"
    except OSError as error:
        return f"{name} could not be sent: {error}"
