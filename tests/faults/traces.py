"""What the run recorded of the event that broke: the traces behind a fault's sentence, drawn as `knts trace` does."""

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
from rich.console import Console

from knts.cli.errors import CommandError
from knts.cli.spans import read
from knts.cli.tracing import heading, waterfall

MOST = 3  # traces that are drawn
WIDTH = 150
_ANSWER = re.compile(r"\b([0-9a-f]{32})\b")
_DOCUMENT = re.compile(r"(\S+): ")


def drawn(faults: Iterable[str], folder: Path) -> str:
    """The traces of the first answers and documents that faults name; why there is none where there is none."""
    written = io.StringIO()
    console = Console(width=WIDTH, color_system=None, file=written)
    for wanted in list(dict.fromkeys(_named(faults, folder)))[:MOST]:
        try:
            spans = read(folder, wanted)
        except CommandError as error:
            console.print(f"{wanted}: {error}", markup=False)
            continue
        console.print(f"the trace of {wanted}: {heading(spans)}", markup=False)
        console.print(waterfall(spans, WIDTH, fold=False))
    return written.getvalue()


def _named(faults: Iterable[str], folder: Path) -> Iterator[str]:
    for fault in faults:
        if answer := _ANSWER.search(fault):
            yield answer[1]
        elif document := _DOCUMENT.match(fault):
            yield from list(_traces_of(document[1], folder))[-1:]  # of its last event


def _traces_of(subject: str, folder: Path) -> Iterator[str]:
    for file in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.1")]):
        for line in file.read_bytes().splitlines():
            if subject.encode() in line:
                span = orjson.loads(line)
                if span["attributes"].get("cloudevents.event_subject") == subject:
                    yield str(span["trace_id"])
