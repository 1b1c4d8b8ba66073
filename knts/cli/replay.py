"""`knts dead-letters replay`: each letter goes to where it failed, and is removed once that has accepted it.

Harmless when repeated: what an event does depends on what is stored, not on how often it comes. A letter that fails
again while it is being replayed stays, since it is removed only as it was read.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from knts import events
from knts.cli import home, output
from knts.cli.api import Api
from knts.cli.errors import FAILED, OK, Answered, CommandError
from knts.cli.letters import NEWER, Desk, Letter, Meant, ids
from knts.errors import KntsError
from knts.events import Event

DEFAULT_BROKER = "http://127.0.0.1:8081/default/kn-ts"
ADDED = ("knativeerrordest", "knativeerrorcode", "knativeerrordata", "kntserrortrigger", "knativearrivaltime")
BUSY = (429, 503)
TRIES, LONGEST_PAUSE = 5, 10.0
ATTEMPT_SECONDS = 600.0  # as long as Serving lets one request last

REPLAYED, AGAIN, GONE, REFUSED = "replayed", "failed again", "gone", "refused"


@dataclass(frozen=True)
class Outcome:
    """What came of one letter, and in a sentence why not."""

    letter: str
    outcome: str
    detail: str = ""


async def run(url: str | None, broker: str | None, to: str | None, meant: Meant, *, as_json: bool) -> int:
    """Replay the letters that are meant, oldest first; the exit code is 1 unless all were taken."""
    address = broker or home.said().get("broker") or DEFAULT_BROKER
    outcomes: list[Outcome] = []
    async with Desk(url) as desk, Api(address) as queue:
        for letter_id in await ids(desk, meant):
            outcomes.append(await one(desk, queue, letter_id, to))
            if not as_json:
                _print(outcomes[-1])
    if as_json:
        output.print_json([vars(outcome) for outcome in outcomes])
    else:
        output.out().print(f"{sum(outcome.outcome == REPLAYED for outcome in outcomes)} replayed of {len(outcomes)}")
    return OK if all(outcome.outcome in (REPLAYED, GONE) for outcome in outcomes) else FAILED


async def one(desk: Desk, broker: Api, letter_id: str, to: str | None) -> Outcome:
    """Replay one letter."""
    letter = await desk.letter(letter_id)
    if letter is None:
        return Outcome(letter_id, GONE, "there is no such dead letter: somebody has dealt with it, or the id is wrong")
    try:
        event = as_it_was(letter)
        await (to_subscriber(broker, event, to) if to else to_trigger(broker, event, letter))
    except CommandError as error:
        return Outcome(letter_id, REFUSED, str(error))
    if await desk.drop(letter_id, letter["times"]) == NEWER:
        return Outcome(letter_id, AGAIN, "it was taken and has failed again already, so it stays")
    return Outcome(letter_id, REPLAYED)


def as_it_was(letter: Letter) -> Event:
    """The event before it died. Raises CommandError where it was not kept whole."""
    if letter["cut"]:
        raise CommandError(f"{letter['cut']} bytes of its data were too many to keep, so it can't be sent as it was")
    attributes: Mapping[str, str] = letter["attributes"]
    kept = {name: value for name, value in attributes.items() if name not in ADDED}
    return Event(kept, base64.b64decode(letter["data_base64"]))


async def to_trigger(broker: Api, event: Event, letter: Letter) -> None:
    """Let the development broker deliver it to the Trigger that failed, and to no other."""
    if not letter["trigger"]:
        raise CommandError(
            "it does not say which Trigger failed, as only the development broker does: name the subscriber's address "
            f"with --to (it failed at {letter['destination'] or 'an address that was not told'})"
        )
    namespace, _, name = letter["trigger"].partition("/")
    if urlsplit(broker.url).path.split("/")[1:2] != [namespace]:
        raise CommandError(f"it failed in namespace {namespace}, and --broker {broker.url} is in another one")
    try:
        await _patiently(broker, event, f"/triggers/{quote(name, safe='')}")
    except Answered as error:
        if error.status not in (400, 404, 405):
            raise
        raise CommandError(
            f"the Broker at {broker.url} did not take it for the Trigger {name}: {error}. Knative's own Brokers have "
            "no path for that: --to delivers to the subscriber's address instead"
        ) from error


async def to_subscriber(broker: Api, event: Event, url: str) -> None:
    """Deliver it as a Broker would: the subscriber's reply goes to the Broker, or all of it counts as failed."""
    async with Api(url) as subscriber:
        headers, body = await _patiently(subscriber, event, "")
    if not body and not any(name.startswith(b"ce-") for name, _ in headers):
        return
    try:
        reply = events.from_http(headers, body)
    except KntsError as error:
        raise CommandError(f"{url} answered with what is no event: {error.detail}") from error
    await _patiently(broker, reply, "")


async def _patiently(api: Api, event: Event, path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Deliver; again after a while where the server is busy."""
    for _ in range(TRIES - 1):
        try:
            return await api.post_event(event, path, timeout=ATTEMPT_SECONDS)
        except Answered as error:
            if error.status not in BUSY:
                raise
            await asyncio.sleep(min(error.retry_after or 1.0, LONGEST_PAUSE))
    return await api.post_event(event, path, timeout=ATTEMPT_SECONDS)


def _print(outcome: Outcome) -> None:
    console = output.out() if outcome.outcome == REPLAYED else output.err()
    told = f"{outcome.letter} {outcome.outcome}" + (f": {outcome.detail}" if outcome.detail else "")
    console.print(output.shown(told), markup=False)
