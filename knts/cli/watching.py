"""`knts events`: what flows through the development broker, line by line, until Ctrl-C."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from rich.text import Text

from knts.cli import output
from knts.cli.api import Api
from knts.cli.errors import Answered, CommandError, NoConnection

OUTCOME_STYLES = {"delivered": "green", "retried": "yellow", "dead-lettered": "red"}
KINDS = ("accepted", "delivery", "missed")
RECONNECT_SECONDS = 1.0


async def run(broker: str, types: Sequence[str], *, as_json: bool) -> int:
    """Print events for as long as the broker lives, and again when it has come back."""
    address = urlsplit(broker)
    path = (address.path.rstrip("/") or "/default/kn-ts") + "/events"
    seen = False
    async with Api(f"{address.scheme}://{address.netloc}") as api:
        while True:
            try:
                async for event in api.events("GET", path):
                    seen = True
                    _print(event.type, orjson.loads(event.data), types, as_json=as_json)
            except NoConnection as error:
                if not seen:
                    raise
                output.err().print(f"knts: {error}; trying again", markup=False)
            except Answered as error:
                if error.status == 404 or not seen:
                    raise CommandError(f"{broker} has no tap to watch: {error}") from error
            await asyncio.sleep(RECONNECT_SECONDS)


def _print(kind: str, data: Mapping[str, Any], types: Sequence[str], *, as_json: bool) -> None:
    attributes = data.get("attributes") or {}
    if kind not in KINDS:
        return
    if types and not any(attributes.get("type", "").startswith(prefix) for prefix in types):
        return
    if as_json:
        output.print_json({"kind": kind, **data}, line=True)
    else:
        output.out().print(line(kind, data, datetime.now().strftime("%H:%M:%S.%f")[:-3]))


def line(kind: str, data: Mapping[str, Any], at: str) -> Text:
    """One accepted event, one delivery, or the note that some were missed."""
    if kind == "missed":
        return Text(f"{at} … {data.get('messages')} messages were missed, this listener was too slow", style="yellow")
    attributes = data.get("attributes") or {}
    event = f"{_type(attributes)} {attributes.get('subject', '')}".rstrip()
    if kind == "accepted":
        to = ", ".join(data.get("triggers") or []) or "nobody"
        told = Text(f"→ {output.shown(event)}") + Text(f"  for {to}", style="dim")
    else:
        told = Text(f"  {data.get('trigger')}: ") + _outcome(data) + Text(f"  {output.shown(event)}", style="dim")
    correlation = attributes.get("correlationid", "")[:8]
    return Text(f"{at} ", style="dim") + Text(f"{output.shown(correlation):8} ", style="cyan") + told


def _outcome(data: Mapping[str, Any]) -> Text:
    outcome = str(data.get("outcome"))
    told = f"{outcome} ({data.get('fault') or data.get('status')})"
    if data.get("attempt", 1) > 1:
        told += f", attempt {data['attempt']}"
    if data.get("retry_in") is not None:
        told += f", again in {data['retry_in']:.1f} s"
    if data.get("reply"):
        told += f" → {_type(data['reply'])}"
    return Text(output.shown(told), style=OUTCOME_STYLES.get(outcome, ""))


def _type(attributes: Mapping[str, Any]) -> str:
    """The type without what all of ours begin with."""
    return str(attributes.get("type", "?")).removeprefix("knts.").removesuffix(".v1")
