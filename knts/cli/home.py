"""What the local run leaves for the commands: its addresses in `run.json`, its secrets, its traces."""

import os
from pathlib import Path
from typing import Any

import orjson

CHECKOUT = Path(__file__).resolve().parents[2]


def home() -> Path:
    """The local run's folder: `KNTS_HOME`, `.knts` here, or that of the checkout that this command is of."""
    if named := os.environ.get("KNTS_HOME"):
        return Path(named)
    here = Path(".knts")
    return here if here.is_dir() else CHECKOUT / here


def said() -> dict[str, Any]:
    """What `run.json` tells of the last start; empty where there was none."""
    try:
        found = orjson.loads((home() / "run.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def secret(name: str) -> str:
    """A secret of the local run; empty where there is none that we may read."""
    try:
        return (home() / "secrets" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
