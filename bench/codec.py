"""`python -m bench.codec`: what an event costs in our codec, beside the CloudEvents SDK and other JSON tools."""

import json
import timeit
from collections.abc import Callable

import jsonschema
import orjson
from cloudevents.conversion import to_binary
from cloudevents.http import from_http as sdk_from_http

from bench.measure import machine, table
from knts import events, schemas

DATA = {"id": "plays/hamlet", "version": 3, "title": "Hamlet", "text": "To be, or not to be. " * 95}
EVENT = events.new_event(events.DOCUMENT_UPSERTED, "/bench", DATA, tenant="local", partitionkey="plays/hamlet")
HEADERS, BODY = events.to_http(EVENT)
RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
SCHEMA = json.loads((schemas.SCHEMAS / "events" / f"{EVENT.type}.json").read_bytes())


def microseconds(call: Callable[[], object]) -> float:
    """The best of five rounds, in microseconds a call."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return 1e6 * min(timer.repeat(5, number)) / number


def main() -> None:
    """Print the table."""
    sdk_event = sdk_from_http(HEADERS, BODY)
    python_validator = jsonschema.Draft202012Validator(SCHEMA)
    pairs: list[tuple[str, Callable[[], object], str, Callable[[], object]]] = [
        (
            "parse an event",
            lambda: events.from_http(RAW, BODY),
            "cloudevents SDK",
            lambda: sdk_from_http(HEADERS, BODY),
        ),
        ("write an event", lambda: events.to_http(EVENT), "cloudevents SDK", lambda: to_binary(sdk_event)),
        ("parse JSON", lambda: orjson.loads(BODY), "json", lambda: json.loads(BODY)),
        ("write JSON", lambda: orjson.dumps(DATA), "json", lambda: json.dumps(DATA)),
        (
            "check data against its schema",
            lambda: schemas.faults(EVENT.type, DATA),
            "jsonschema",
            lambda: python_validator.is_valid(DATA),
        ),
        (
            "sign an event",
            lambda: events.signed(EVENT, ["key"]),
            "no signature",
            lambda: None,
        ),
    ]
    print(f"{machine()}; an event of {len(BODY)} bytes; µs, best of 5 rounds\n")
    rows = []
    for what, ours, peer, theirs in pairs:
        a, b = microseconds(ours), microseconds(theirs)
        rows.append((what, a, peer, b, "" if peer == "no signature" else f"{b / a:.1f}×"))
    print(table(("what", "kn-ts µs", "beside", "its µs", "ratio"), rows))


if __name__ == "__main__":
    main()
