"""What a Broker must do, as tables. Each case names what it needs beyond what every Broker of Knative's kind can do.

A case has a Broker of its own, named after it, so that cases do not meet. The filter cases marked `Knative:` ask what
the features of the same names in Knative's own test/rekt/features/new_trigger_filters ask, in our words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CESQL = "cesql"  # filters in the CloudEvents SQL dialect
REASONS = "reasons"  # the error extensions also where no answer came: a time-out, no connection, a malformed reply
FAILED_TRIGGER = "failed trigger"  # a dead letter says which Trigger failed
BODY_CAP = "body cap"  # a body that is too large is refused by the Broker itself
REPLAY = "replay"  # an event goes to one Trigger alone, by a path of its own
ORDER = "order"  # of the events with one partitionkey, where the Trigger asks for it
PAGES = "pages"  # /readyz, /metrics and the events as they flow, at the ingress itself

Attributes = Mapping[str, str]
TYPE = {"type": "a.b.c"}


@dataclass(frozen=True)
class FilterCase:
    """A Trigger, the events that it must get and the ones that it must not."""

    name: str
    spec: Mapping[str, Any]
    wanted: Sequence[Attributes]
    unwanted: Sequence[Attributes] = ()
    needs: frozenset[str] = frozenset()


def _types(*names: str) -> list[Attributes]:
    return [{"type": name} for name in names]


_ALL = [
    {"exact": {"type": "exact.prefix.suffix.event.type"}},
    {"prefix": {"type": "exact.prefix"}},
    {"suffix": {"type": "suffix.event.type"}},
]
_ALL_WANTED = _types("exact.prefix.suffix.event.type")
_ALL_UNWANTED = _types("not.event.type", "exact.prefix.suffix.event", "exact.prefix.suffix.event.suffix.event.type")
_CESQL_ALL = {"cesql": "type LIKE 'exact.prefix.suffix%'"}
_MATCHED = {"type": "com.example.FullEvent", "source": "http://example.com/source"}
_UNMATCHED = {"type": "org.wrong.type", "source": "org.wrong.source"}
_EXTENSION = [
    {"exact": {"extensionattribute": "extensionvalue"}},
    {"prefix": {"extensionattribute": "extension"}},
    {"suffix": {"extensionattribute": "value"}},
]

FILTERS = [
    FilterCase("no filter", {}, [TYPE, {"type": "x", "subject": "y"}]),
    FilterCase(
        "attributes",
        {"filter": {"attributes": {"type": "a.b.c", "kind": "x"}}},
        [{**TYPE, "kind": "x"}],
        [TYPE, {**TYPE, "kind": "y"}, {"type": "z", "kind": "x"}],
    ),
    FilterCase("attribute of any value", {"filter": {"attributes": {"kind": ""}}}, [{"kind": "x"}], [TYPE]),
    FilterCase("exact", {"filters": [{"exact": TYPE}]}, [TYPE], _types("a.b.cd", "a.b", "A.B.C")),
    FilterCase(
        "prefix", {"filters": [{"prefix": {"type": "a.b"}}]}, _types("a.b", "a.bc", "a.b.c"), _types("a", "ba.b")
    ),
    FilterCase("suffix", {"filters": [{"suffix": {"type": "b.c"}}]}, _types("b.c", "a.b.c"), _types("c", "b.cd")),
    FilterCase(
        "time and id",
        {"filters": [{"prefix": {"time": "2026-"}}]},
        [{"time": "2026-01-02T03:04:05Z"}],
        [{"time": "2025-01-02T03:04:05Z"}, TYPE],
    ),
    FilterCase("not", {"filters": [{"not": {"exact": TYPE}}]}, _types("x"), [TYPE]),
    FilterCase(
        "not of what is missing",
        {"filters": [{"not": {"exact": {"kind": "x"}}}]},
        [TYPE, {"kind": "y"}],
        [{"kind": "x"}],
    ),
    FilterCase(
        "nested",
        {
            "filters": [
                {
                    "any": [
                        {"all": [{"exact": TYPE}, {"not": {"prefix": {"kind": "x"}}}]},
                        {"suffix": {"subject": ".md"}},
                    ]
                }
            ]
        },
        [TYPE, {"type": "x", "subject": "a.md"}],
        [{**TYPE, "kind": "xy"}, _types("x")[0]],
    ),
    FilterCase("Knative: exact", {"filters": [{"exact": _MATCHED}]}, [_MATCHED], [_UNMATCHED]),
    FilterCase(
        "Knative: prefix", {"filters": [{"prefix": {"type": "com.", "source": "http"}}]}, [_MATCHED], [_UNMATCHED]
    ),
    FilterCase(
        "Knative: suffix",
        {"filters": [{"suffix": {"type": "xample.FullEvent", "source": "/example.com/source"}}]},
        [_MATCHED],
        [_UNMATCHED],
    ),
    FilterCase(
        "Knative: CESQL",
        {"filters": [{"cesql": f"type = '{_MATCHED['type']}' AND source = '{_MATCHED['source']}'"}]},
        [_MATCHED],
        [_UNMATCHED],
        frozenset({CESQL}),
    ),
    FilterCase(
        "Knative: any",
        {
            "filters": [
                {
                    "any": [
                        {"exact": {"type": "exact.event.type"}},
                        {"prefix": {"type": "prefix"}},
                        {"suffix": {"type": "suffix"}},
                    ]
                }
            ]
        },
        _types("exact.event.type", "prefix.event.type", "event.type.suffix"),
        _types("not.event.type"),
    ),
    FilterCase(
        "Knative: any with CESQL",
        {
            "filters": [
                {
                    "any": [
                        {"exact": {"type": "exact.event.type"}},
                        {"prefix": {"type": "prefix"}},
                        {"suffix": {"type": "suffix"}},
                        {"not": {"cesql": "type LIKE '%event.type%'"}},
                        {"cesql": "type = 'cesql.event.type'"},
                    ]
                }
            ]
        },
        _types("exact.event.type", "prefix.event.type", "event.type.suffix", "not.type.event", "cesql.event.type"),
        _types("not.event.type"),
        frozenset({CESQL}),
    ),
    FilterCase(
        "Knative: any of several exact",
        {
            "filters": [
                {
                    "any": [
                        {"exact": {"type": f"dev.knative.apiserver.resource.{verb}"}}
                        for verb in ("update", "add", "delete")
                    ]
                }
            ]
        },
        _types(*(f"dev.knative.apiserver.resource.{verb}" for verb in ("update", "add", "delete"))),
        _types("prefix.event.type"),
    ),
    FilterCase("Knative: all", {"filters": [{"all": _ALL}]}, _ALL_WANTED, _ALL_UNWANTED),
    FilterCase(
        "Knative: all with CESQL",
        {"filters": [{"all": [*_ALL, _CESQL_ALL]}]},
        _ALL_WANTED,
        _ALL_UNWANTED,
        frozenset({CESQL}),
    ),
    FilterCase(
        "Knative: first of two Triggers",
        {"filters": [{"any": [{"exact": {"type": "type1"}}, {"prefix": {"type": "both"}}]}]},
        _types("type1", "both.should.match"),
        _types("type2", "type3"),
    ),
    FilterCase(
        "Knative: missing attributes",
        {"filters": [{"all": _EXTENSION}]},
        [{"extensionattribute": "extensionvalue"}],
        [TYPE],
    ),
    FilterCase(
        "Knative: missing attributes with CESQL",
        {"filters": [{"all": [*_EXTENSION, {"cesql": "extensionattribute LIKE '%value'"}]}]},
        [{"extensionattribute": "extensionvalue"}],
        [TYPE],
        frozenset({CESQL}),
    ),
    FilterCase(
        "Knative: empty filters",
        {"filters": [], "filter": {"attributes": TYPE}},
        [TYPE],
        _types("some.other.type"),
    ),
    FilterCase(
        "Knative: filters override the attributes",
        {"filters": [{"exact": TYPE}], "filter": {"attributes": {"type": "filter.check.event.type"}}},
        [TYPE],
        _types("filter.check.event.type"),
    ),
    FilterCase("Knative: several filters", {"filters": _ALL}, _ALL_WANTED, _ALL_UNWANTED),
    FilterCase(
        "Knative: several filters with CESQL",
        {"filters": [*_ALL, _CESQL_ALL]},
        _ALL_WANTED,
        _ALL_UNWANTED,
        frozenset({CESQL}),
    ),
    FilterCase(
        "CESQL that fails is not true",
        {"filters": [{"cesql": "missing = 'x'"}]},
        [{"missing": "x"}],
        [TYPE],
        frozenset({CESQL}),
    ),
]


EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "a.b.c"}
STRUCTURED = {"content-type": "application/cloudevents+json"}


@dataclass(frozen=True)
class RequestCase:
    """What the ingress answers, and what one does that lacks what this needs; `{broker}` is the path of a Broker."""

    name: str
    status: int
    method: str = "POST"
    path: str = "{broker}"
    headers: Mapping[str, str] = field(default_factory=lambda: EVENT)
    body: bytes = b""
    needs: str = ""
    otherwise: int = 0


def _without(name: str) -> dict[str, str]:
    return {key: value for key, value in EVENT.items() if key != f"ce-{name}"}


REQUESTS = [
    RequestCase("an event", 202),
    RequestCase("an event of version 0.3", 202, headers={**EVENT, "ce-specversion": "0.3"}),
    RequestCase(
        "a structured event", 202, headers=STRUCTURED, body=b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'
    ),
    RequestCase("JSON that is none", 202, headers={**EVENT, "content-type": "application/json"}, body=b"{"),
    RequestCase("OPTIONS", 200, "OPTIONS"),
    RequestCase("GET", 405, "GET"),
    RequestCase("PUT", 405, "PUT"),
    RequestCase("no path", 404, path="/"),
    RequestCase("half a path", 400, path="/contract"),
    RequestCase("too long a path", 400, path="{broker}/more"),
    RequestCase("an unknown Broker", 404, path="/contract/unknown"),
    RequestCase("a query", 404, path="{broker}?x=1"),
    *(RequestCase(f"no {name}", 400, headers=_without(name)) for name in ("id", "source", "type", "specversion")),
    *(RequestCase(f"an empty {name}", 400, headers={**EVENT, f"ce-{name}": ""}) for name in ("id", "source", "type")),
    RequestCase("version 2.0", 400, headers={**EVENT, "ce-specversion": "2.0"}),
    RequestCase("a bad time", 400, headers={**EVENT, "ce-time": "yesterday"}),
    RequestCase("an underscore in a name", 400, headers={**EVENT, "ce-a_b": "x"}),
    RequestCase("a dash in a name", 400, headers={**EVENT, "ce-a-b": "x"}),
    RequestCase("no event", 400, headers={"content-type": "text/plain"}, body=b"hello"),
    RequestCase("a batch", 400, headers={"content-type": "application/cloudevents-batch+json"}, body=b"[]"),
    RequestCase("structured rubbish", 400, headers=STRUCTURED, body=b"{"),
    RequestCase(
        "a structured event without id", 400, headers=STRUCTURED, body=b'{"specversion":"1.0","source":"/s","type":"t"}'
    ),
    RequestCase("no time to live left", 400, headers={**EVENT, "ce-knativebrokerttl": "0"}),
    RequestCase("too large", 413, body=b"x" * (2 << 20), needs=BODY_CAP, otherwise=202),
    RequestCase("a Trigger alone", 202, path="{broker}/triggers/no-filter-t", needs=REPLAY, otherwise=400),
    RequestCase("its readiness", 200, "GET", "/readyz", needs=PAGES, otherwise=405),
]


RETRY = 2
RETRIED = (404, 408, 409, 429, 500, 501, 502, 503, 504, 599)
GIVEN_UP = (300, 400, 401, 402, 403, 405, 406, 410, 411, 413, 415, 418, 422, 423, 424, 425, 426, 428, 431, 451)

REPLY = {"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/r", "ce-type": "reply"}
MALFORMED: dict[str, tuple[int, Mapping[str, str], bytes]] = {
    "text": (200, {"Content-Type": "text/plain"}, b"OK"),
    "json": (200, {"Content-Type": "application/json"}, b"{}"),
    "accepted": (202, {"Content-Type": "text/plain"}, b"accepted"),
    "half": (200, {"Content-Type": "application/cloudevents+json"}, b'{"id": 1'),
}
