"""The figures that sum up an evaluation: each part tells its own, `python -m bench.eval` shows all in one table.

Parts run in processes of their own, so what they tell goes through a file that the environment names; a part that runs
by itself tells nobody.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

GATHERED_IN = "KNTS_HEADLINES"  # names the file
HEAD = ("part", "figure", "measured (95 %)", "aim")


def headline(part: str, figure: str, measured: str, aim: str = "") -> None:
    """Tell one figure, with its interval; `aim` is what it should be, where somebody said so."""
    if path := os.environ.get(GATHERED_IN):
        with Path(path).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps((part, figure, measured, aim)) + "\n")


def gathered(path: Path) -> Iterator[tuple[str, ...]]:
    """What the parts told, in their order; rows under `HEAD`."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield tuple(json.loads(line))
