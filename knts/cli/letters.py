"""`knts dead-letters list|show|drop`: what could not be delivered, why, and the end of it."""

import base64
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from rich.table import Table
from rich.text import Text

from knts.cli import home, output
from knts.cli.api import Api
from knts.cli.errors import FAILED, OK, Answered, CommandError

PAGE = 500
SHOWN_BYTES = 20_000
TOLD = ("knativeerrordata", "knativeerrordest", "kntserrortrigger")  # decoded, or in lines of their own
UNAUTHORIZED, NOT_FOUND, CONFLICT = 401, 404, 409
DROPPED, UNKNOWN, NEWER = "dropped", "unknown", "newer"

Letter = Mapping[str, Any]


@dataclass(frozen=True)
class Meant:
    """Which letters a command is about: those of `ids`, or all that a filter leaves."""

    ids: tuple[str, ...] = ()
    filters: Mapping[str, str] | None = None


class Desk:
    """The operator's side of the dead-letter function. An async context manager."""

    def __init__(self, url: str | None) -> None:
        address = url or home.said().get("functions", {}).get("dead-letter")
        if not address:
            raise CommandError(
                "where is the dead-letter function? No local run has left its address here: give --url, or "
                "KNTS_DEAD_LETTERS_URL (in a cluster: kubectl port-forward)"
            )
        self.api = Api(address, os.environ.get("KNTS_OPERATOR_KEY", "").strip() or home.secret("operator-key"))

    async def __aenter__(self) -> "Desk":
        await self.api.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.api.__aexit__()

    async def page(self, filters: Mapping[str, str], after: str | None, limit: int) -> tuple[list[Letter], str | None]:
        """Letters from the oldest on, without data, and where to go on."""
        reply = await self._ask("GET", "/letters", {**filters, "after": after or None, "limit": limit})
        return reply["letters"], reply["next"]

    async def every(self, filters: Mapping[str, str]) -> AsyncIterator[Letter]:
        """All letters that a filter leaves, from the oldest on."""
        after: str | None = None
        while True:
            letters, after = await self.page(filters, after, PAGE)
            for letter in letters:
                yield letter
            if after is None:
                return

    async def letter(self, letter_id: str) -> Letter | None:
        """One letter with its data; None where there is none."""
        try:
            found: Letter = await self._ask("GET", _path(letter_id))
        except Answered as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return found

    async def drop(self, letter_id: str, times: int | None = None) -> str:
        """Forget a letter: DROPPED, or UNKNOWN; with `times` NEWER, and it stays, if it has come again since."""
        try:
            await self._ask("DELETE", _path(letter_id), {"times": times})
        except Answered as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
            return UNKNOWN if error.status == NOT_FOUND else NEWER
        return DROPPED

    async def _ask(self, method: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        try:
            return await self.api.json(method, path, query=query)
        except Answered as error:
            if error.status == UNAUTHORIZED:
                raise CommandError(
                    f"{self.api.url} wants an operator's key: set KNTS_OPERATOR_KEY to one that it knows"
                ) from error
            raise


def _path(letter_id: str) -> str:
    return f"/letters/{quote(letter_id, safe='')}"


async def ids(desk: Desk, meant: Meant) -> list[str]:
    """The ids of all letters that are meant, before anything is done to them: what fails again is a letter again."""
    if meant.filters is None:
        return list(meant.ids)
    return [letter["id"] async for letter in desk.every(meant.filters)]


# -- list -------------------------------------------------------------------------------------------------------------


async def show_list(
    url: str | None, filters: Mapping[str, str], after: str | None, limit: int, *, as_json: bool
) -> int:
    """Print up to `limit` letters and how to see more."""
    found: list[Letter] = []
    async with Desk(url) as desk:
        while len(found) < limit:
            page, after = await desk.page(filters, after, min(PAGE, limit - len(found)))
            found += page
            if after is None:
                break
    if as_json:
        output.print_json({"letters": found, "next": after})
        return OK
    if not found:
        output.out().print("no dead letters" if not filters else "no such dead letters")
        return OK
    for letter in found:
        output.out().print(line(letter))
    if after:
        output.err().print(f"more: --after {after}", style="dim", markup=False)
    return OK


def line(letter: Letter) -> Text:
    """A letter in two lines: which it is, and why it is here."""
    attributes = letter["attributes"]
    event = f"{attributes.get('type', '?')} {attributes.get('subject', '')}".rstrip()
    times = f" ×{letter['times']}" if letter["times"] > 1 else ""
    head = f"{letter['id']}  {letter['stored'][:19]}{times}  {letter['trigger'] or 'Trigger not known'}  {event}"
    return Text(output.shown(head)) + Text(f"\n    {output.shown(why(letter))}", style="red")


def why(letter: Letter) -> str:
    """Why it is here, in a line."""
    problem = letter["problem"] or {}
    said = problem.get("detail") or problem.get("title") or letter["text"] or ""
    return f"{letter['code'] or '?'} {' '.join(str(said).split())[:200]}".rstrip()


# -- show -------------------------------------------------------------------------------------------------------------


async def show_one(url: str | None, letter_id: str, *, as_json: bool) -> int:
    """Print all that is known of a letter."""
    async with Desk(url) as desk:
        letter = await desk.letter(letter_id)
    if letter is None:
        raise CommandError(f"there is no dead letter {letter_id!r}")
    data = base64.b64decode(letter["data_base64"])
    if as_json:
        output.print_json({**letter, "data": _parsed(data)})
        return OK
    console = output.out()
    table = Table.grid(padding=(0, 2))
    for name in ("id", "stored", "times", "trigger", "destination"):
        table.add_row(Text(name, style="bold"), output.shown(str(letter[name] or "not known")))
    table.add_row(Text("why", style="bold"), Text(output.shown(why(letter)), style="red"))
    for error in (letter["problem"] or {}).get("errors") or ():
        table.add_row("", Text(output.shown(f"{error.get('field')}: {error.get('rule')}")))
    for name, value in sorted(letter["attributes"].items()):
        if name in TOLD:
            continue
        table.add_row(Text(name, style="dim"), Text(output.shown(value)))
    console.print(table)
    console.print()
    console.print(output.shown(_readable(data)), markup=False)
    if letter["cut"]:
        output.err().print(f"{letter['cut']} more bytes were too many to keep", style="yellow")
    return OK


def _parsed(data: bytes) -> Any:
    """The data as JSON, or None where it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _readable(data: bytes) -> str:
    if (value := _parsed(data)) is not None:
        data = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    text = data[:SHOWN_BYTES].decode("utf-8", "replace")
    return text if len(data) <= SHOWN_BYTES else f"{text}\n… {len(data) - SHOWN_BYTES} bytes more; --json has all"


# -- drop -------------------------------------------------------------------------------------------------------------


async def find(url: str | None, meant: Meant) -> list[str]:
    """The ids of the letters that are meant."""
    async with Desk(url) as desk:
        return await ids(desk, meant)


async def drop(url: str | None, letter_ids: Sequence[str], *, as_json: bool) -> int:
    """Forget letters; the exit code is 1 where one that was named is not there."""
    outcome: dict[str, list[str]] = {DROPPED: [], UNKNOWN: []}
    async with Desk(url) as desk:
        for letter_id in letter_ids:
            outcome[await desk.drop(letter_id)].append(letter_id)
    if as_json:
        output.print_json(outcome)
    else:
        output.out().print(f"{len(outcome[DROPPED])} dropped")
        for letter_id in outcome[UNKNOWN]:
            output.err().print(f"knts: there is no dead letter {output.shown(letter_id)!r}", markup=False)
    return FAILED if outcome[UNKNOWN] else OK
