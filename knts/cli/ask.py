"""`knts ask`: the answer as it is written, resumed when the connection breaks, then its numbered sources."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console

from knts.channel import ABSTAINED as ABSTAINED_FRAME
from knts.channel import COMPLETED, DELTA, LAST, PASSAGES, QUEUED, RESET
from knts.cli import output
from knts.cli.api import Api
from knts.cli.errors import ABSTAINED, FAILED, OK, Answered, CommandError, NoConnection

PAUSE = 0.5  # seconds before a broken stream is taken up again, times the tries so far
PATIENCE = 10  # connections in a row that bring nothing new
CANCEL_SECONDS = 3.0


async def run(url: str, key: str, request: Mapping[str, Any], *, as_json: bool) -> int:
    """Ask, show, and give the exit code: 0 answered, 4 not in the documents, 1 failed."""
    async with Api(url, key) as api:
        asking = Asking(api, request)
        try:
            final = await _follow(asking, quiet=as_json)
        except asyncio.CancelledError:
            await asking.cancel()
            raise
    if as_json:
        output.print_json(final)
    else:
        _print_end(final, asking)
    return {COMPLETED: OK, ABSTAINED_FRAME: ABSTAINED}.get(final["status"], FAILED)


class Asking:
    """One question under way: its id once known, what came, and where to take it up again."""

    def __init__(self, api: Api, request: Mapping[str, Any]) -> None:
        self.api = api
        self.request = request
        self.id = ""
        self.last_id = ""
        self.text = ""

    async def frames(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Frame types and data up to the last one, over as many connections as it takes."""
        stream = self.api.events("POST", "/v1/answers", self.request)
        tries = 0
        while True:
            try:
                async for event in stream:
                    data = orjson.loads(event.data)
                    self.last_id, tries = event.id or self.last_id, 0
                    self.id = self.id or data.get("id", "")
                    yield event.type, data
                    if event.type in LAST:
                        return
            except (NoConnection, Answered) as error:
                if not self.id or tries == PATIENCE or (isinstance(error, Answered) and error.status < 500):
                    raise
            tries += 1
            if not self.id or tries > PATIENCE:
                raise NoConnection(f"{self.api.url} closed the stream before the answer ended")
            await asyncio.sleep(PAUSE * tries)
            stream = self.api.events("GET", f"/v1/answers/{self.id}/events", last_id=self.last_id)

    async def cancel(self) -> None:
        """Tell the server that nobody waits any more; it notices by itself within half a minute otherwise."""
        if not self.id:
            return
        try:
            await self.api.json("DELETE", f"/v1/answers/{self.id}", timeout=CANCEL_SECONDS)
        except CommandError as error:
            output.err().print(f"could not cancel: {error}", style="dim", markup=False)


async def _follow(asking: Asking, *, quiet: bool) -> dict[str, Any]:
    """Print the answer as it comes; the last frame's data."""
    aside = output.err()
    async for kind, data in asking.frames():
        if kind in LAST:
            return data
        if kind == DELTA:
            asking.text += data["text"]
            if not quiet:
                sys.stdout.write(output.shown(data["text"]))
                sys.stdout.flush()
        elif kind == RESET:
            if asking.text and not quiet:
                sys.stdout.write("\n\n")
                aside.print("— starting again —", style="dim")
            asking.text = ""
        elif kind == QUEUED and data.get("position", 1) > 1 and not quiet and aside.is_terminal:
            expected = f", about {data['expected_ms'] / 1000:.0f} s" if data.get("expected_ms") else ""
            aside.print(f"number {data['position']} in the queue{expected}", style="dim")
        elif kind == PASSAGES and not quiet and aside.is_terminal:
            aside.print(f"{len(data.get('passages', []))} passages found", style="dim")
    raise CommandError("the stream ended without an answer")  # frames() never ends so


def _print_end(final: Mapping[str, Any], asking: Asking) -> None:
    console = output.out()
    answer = final.get("answer") or ""
    if asking.text:
        sys.stdout.write("\n")
        sys.stdout.flush()
    if answer.strip() and answer.strip() != asking.text.strip():
        console.print(output.shown(answer), markup=False)
    if final["status"] == ABSTAINED_FRAME and not answer:
        console.print("The documents don't answer this.")
    if final["status"] == ABSTAINED_FRAME:
        _print_nearest(console, final)
    elif final["status"] not in (COMPLETED, ABSTAINED_FRAME):
        output.err().print(f"knts: {failure(final)}", markup=False)
    _print_doubts(console, final)
    _print_sources(console, final.get("citations") or [])
    output.err().print(summary(final), style="dim", markup=False)


def failure(final: Mapping[str, Any]) -> str:
    """Why there is no answer, in a sentence."""
    problem = final.get("problem") or {}
    return output.shown(str(problem.get("detail") or final.get("reason") or f"the answer {final['status']}"))


def _print_doubts(console: Console, final: Mapping[str, Any]) -> None:
    """What of the answer no passage supports."""
    doubted = [each for each in final.get("sentences") or [] if not each["supported"]]
    for each in doubted:
        said = " ".join(output.shown(final["answer"][each["start"] : each["end"]]).split())
        console.print(f"unsupported: {said}", style="yellow", markup=False)
    if left_out := final.get("withheld"):
        console.print(f"left out, since no passage supports it: {left_out} sentence(s)", style="yellow", markup=False)


def _print_nearest(console: Console, final: Mapping[str, Any]) -> None:
    """Why there is no answer, and the documents that come nearest to one."""
    if final.get("reason"):
        console.print(output.shown(str(final["reason"])), style="dim", markup=False)
    for number, passage in enumerate(final.get("passages") or []):
        if number == 0:
            console.print("\nNearest to it:")
        named = " › ".join(filter(None, (passage["title"] or passage["document_id"], passage.get("section"))))
        place = f"{passage['document_id']} v{passage['version']} {passage['start']}–{passage['end']}"
        console.print(output.shown(f"  {named}  ({place})"), markup=False)


def _print_sources(console: Console, citations: Sequence[Mapping[str, Any]]) -> None:
    for number, citation in enumerate(_distinct(citations), 1):
        if number == 1:
            console.print()
        console.print(f"[{number}] {output.shown(citation['title'])}", style="bold", markup=False)
        quote = " ".join(output.shown(citation["quote"]).split())
        console.print(f"    “{quote}”", markup=False)
        place = f"    {citation['document_id']} v{citation['version']} {citation['start']}–{citation['end']}"
        console.print(output.shown(place), style="dim", markup=False)


def _distinct(citations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The citations without those that name the same place again."""
    named = {(one["document_id"], one["version"], one["start"], one["end"]): one for one in reversed(citations)}
    return list(reversed(named.values()))


def summary(final: Mapping[str, Any]) -> str:
    """Model, cache, times and tokens of an answer in one line, and the command that shows how it came about."""
    timings, usage = final.get("timings_ms") or {}, final.get("usage") or {}
    told = [str(final[name]) for name in ("model",) if final.get(name)]
    if final.get("cache"):
        told.append(f"cache {final['cache']}")
    for name, label in (("first_token", "first word after"), ("total", "done after")):
        if timings.get(name) is not None:
            told.append(f"{label} {timings[name] / 1000:.2f} s")
    if any(usage.values()):
        told.append(f"{usage.get('prompt_tokens', 0)} + {usage.get('completion_tokens', 0)} tokens")
    return " · ".join([*told, f"knts trace {final.get('id', '')}"])
