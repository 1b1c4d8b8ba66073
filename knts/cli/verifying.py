"""`knts verify`: an answer against the documents, from files or from the server."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.markup import escape

from knts.citations import Text, faults
from knts.cli import output
from knts.cli.api import Api, document_path
from knts.cli.errors import FAILED, OK, USAGE, Answered, CommandError
from knts.cli.extract import Refused
from knts.cli.files import Report, documents, sources


class NoAnswer(CommandError):
    """What was given is no answer of the HTTP API."""

    code = USAGE


async def run(url: str, key: str, file: str, paths: Sequence[str], prefix: str, *, as_json: bool) -> int:
    """Check, say what is wrong, and give the exit code: 0 every byte is right, 1 something is not."""
    answer = read(file)
    try:
        ids = {each["document_id"] for each in [*answer["citations"], *answer["passages"]]}
        known = from_files(paths, prefix, ids) if paths else await from_server(url, key, sorted(ids))
        found = faults(answer, known)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise NoAnswer(f"{file} holds no answer of this version of the API ({error!r})") from error
    supported = sum(bool(each["supported"]) for each in answer["sentences"])
    counts = {"citations": len(answer["citations"]), "sentences": len(answer["sentences"]), "supported": supported}
    if as_json:
        output.print_json({"ok": not found, "faults": found, **counts})
        return FAILED if found else OK
    for fault in found:
        output.out().print(f"[red]wrong[/red]  {escape(output.shown(fault))}")
    told = f"{counts['citations']} citations, {supported} of {counts['sentences']} sentences supported"
    output.out().print(
        f"{'not as it was written, or not what the documents say' if found else 'every byte is right'}: {told}"
    )
    return FAILED if found else OK


def read(file: str) -> dict[str, Any]:
    """The answer in a file, `-` for the standard input. Raises NoAnswer."""
    try:
        answer = orjson.loads(sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes())
    except OSError as error:
        raise NoAnswer(f"{file} can't be read: {error.strerror or error}") from error
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"{file} is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswer(f"{file} holds no answer")
    return answer


def from_files(paths: Sequence[str], prefix: str, ids: Iterable[str]) -> Mapping[str, Text]:
    """The documents with these ids in files and folders, read as `knts load` reads them. Raises CommandError."""
    wanted, report, found = set(ids), Report(), {}
    for source in sources(paths, report):
        for document in documents(source):
            if not isinstance(document, Refused) and prefix + document.id in wanted:
                found[prefix + document.id] = Text(document.text)
    if report.refused:
        raise CommandError("; ".join(f"{each['id']}: {each['error']}" for each in report.refused))
    return found


async def from_server(url: str, key: str, ids: Sequence[str]) -> Mapping[str, Text]:
    """The documents with these ids that the server has and the key may read."""
    found = {}
    async with Api(url, key) as api:
        for each in ids:
            try:
                document = await api.json("GET", document_path(each), query={"include": "text"})
            except Answered as error:
                if error.status != 404:
                    raise
                continue
            if isinstance(document.get("text"), str):
                found[each] = Text(document["text"], document["version"])
    return found
