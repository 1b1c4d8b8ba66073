"""The Grafana dashboards: `python tools/dashboards.py` writes them, `--check` tells which are not as they stand here.

A panel is its title, unit, what it shows and its queries by legend. The rest of Grafana's JSON is the same for all.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "deploy/components/observability/grafana/dashboards"
WIDTH, HEIGHT = 8, 8  # three panels a row of 24
SOURCES = {"prometheus": "Metrics", "loki": "Logs"}


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are expressions by legend; `kind` is Grafana's name of how it is drawn."""

    title: str
    unit: str
    description: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    source: str = "prometheus"


@dataclass(frozen=True)
class Dashboard:
    """One dashboard, with its rows of panels by the row's title."""

    uid: str
    title: str
    description: str
    rows: Mapping[str, list[Panel]]


def quantiles(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    """The median and the 95th percentile of a histogram, by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label)
    grouped = f"le, {by}" if by else "le"
    selected = f"{metric}_bucket{{{where}}}" if where else f"{metric}_bucket"
    return {
        f"{name} {legend}".strip(): (
            f"histogram_quantile({quantile}, sum by ({grouped}) (rate({selected}[$__rate_interval])))"
        )
        for name, quantile in (("p50", 0.5), ("p95", 0.95))
    }


def rate(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    """How much a counter grows in a second, by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label) or "all"
    selected = f"{metric}{{{where}}}" if where else metric
    grouping = f" by ({by})" if by else ""
    return {legend: f"sum{grouping} (rate({selected}[$__rate_interval]))"}


ROAD = Dashboard(
    "knts-road",
    "kn-ts: the road",
    "Rates, errors and latency of questions and searches, hop by hop and function by function.",
    {
        "What people see": [
            Panel(
                "Answers",
                "ops",
                "Answers that ended, by how: completed, abstained, failed, cancelled.",
                {"{{status}}": "sum by (status) (knts:answers:rate5m)"},
            ),
            Panel(
                "First word and whole answer",
                "s",
                "From the question's arrival at ingress to the first word, and to the end.",
                {
                    f"{name}, {what}": query
                    for what, metric in (("first word", "first_token"), ("all", "duration"))
                    for name, query in quantiles(f"knts_answer_{metric}_seconds").items()
                },
            ),
            Panel(
                "Clients that wait",
                "short",
                "Clients that follow an answer now, and requests of any kind under way.",
                {
                    "answers": "sum (knts_waiting)",
                    "requests of {{faas_name}}": "sum by (faas_name) (http_server_active_requests)",
                },
            ),
            Panel(
                "Failed and turned away",
                "percentunit",
                "Answers that failed, questions answered by 429 or 503, requests to each function answered by 5xx.",
                {
                    "answers failed": "knts:answers_failed:ratio10m",
                    "questions turned away": "knts:questions_refused:ratio10m",
                    "5xx of {{job}}": "knts:requests_failed:ratio5m",
                },
            ),
            Panel(
                "Requests to ingress",
                "reqps",
                "Requests by route and status.",
                {
                    "{{http_request_method}} {{http_route}} {{http_response_status_code}}": (
                        'knts:requests:rate5m{job="kn-ts/kn-ts-ingress"}'
                    )
                },
            ),
            Panel(
                "Searches",
                "s",
                "From the request for a search to its reply.",
                quantiles("http_server_request_duration_seconds", where='http_route="/v1/search"'),
            ),
        ],
        "Hop by hop": [
            Panel(
                "To the Broker",
                "s",
                "How long ingress waits for the Broker's 202.",
                quantiles("http_client_request_duration_seconds", where='job="kn-ts/kn-ts-ingress"'),
            ),
            Panel(
                "Work on an event",
                "s",
                "How long a function works on one event; llm-answer holds its own until the answer is written.",
                quantiles("messaging_process_duration_seconds", "cloudevents_event_type"),
            ),
            Panel(
                "To Typesense and Ollama",
                "s",
                "Calls over HTTP of each function, by the address they go to.",
                quantiles(
                    "http_client_request_duration_seconds",
                    "job, server_address, server_port",
                    'job=~"kn-ts/kn-ts-(search|index-document|llm-answer)"',
                ),
            ),
            Panel(
                "Events published by ingress",
                "ops",
                "Events handed to the Broker, by type and whether that went well.",
                rate("messaging_client_sent_messages_total", "type, outcome"),
            ),
        ],
        "Function by function": [
            Panel(
                "Events worked",
                "ops",
                "By what became of them: replied, done, refused (no retry helps), retry, bug, interrupted.",
                {"{{job}} {{outcome}}": "sum by (job, outcome) (knts:events:rate5m)"},
            ),
            Panel(
                "CPU",
                "short",
                "Cores that each process uses. Only where Prometheus scrapes; see Kubernetes' own figures elsewhere.",
                {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"},
            ),
            Panel(
                "Memory",
                "bytes",
                "Resident memory of each process. Only where Prometheus scrapes.",
                {"{{job}} {{instance}}": "process_resident_memory_bytes"},
            ),
            Panel(
                "Pods of each revision",
                "short",
                "What Knative's autoscaler has and wants. Knative only.",
                {
                    "{{kn_revision_name}} there": "sum by (kn_revision_name) (kn_revision_pods_count)",
                    "{{kn_revision_name}} wanted": "sum by (kn_revision_name) (kn_revision_pods_desired)",
                },
            ),
            Panel(
                "Warnings and errors",
                "none",
                "Log lines of the functions, with their correlation id.",
                {"": '{service_namespace="kn-ts"} | severity_text =~ "WARN|ERROR|CRITICAL"'},
                kind="logs",
                source="loki",
            ),
        ],
    },
)

MODEL = Dashboard(
    "knts-model",
    "kn-ts: the model",
    "The line before each model, its first token, its tokens and what they cost.",
    {
        "The line": [
            Panel(
                "Answers that wait and that are written",
                "short",
                "Those that wait for one of the model's slots, and those that hold one. Over all replicas.",
                {"{{gen_ai_request_model}} {{state}}": "sum by (gen_ai_request_model, state) (knts_model_flights)"},
            ),
            Panel(
                "Wait for a slot",
                "s",
                "How long answers waited for one of their model's slots.",
                quantiles("knts_model_wait_seconds", "gen_ai_request_model"),
            ),
            Panel(
                "Questions turned away",
                "percentunit",
                "Questions answered by 429 or 503, since the line is full or the answer would come too late.",
                {"turned away": "knts:questions_refused:ratio10m"},
            ),
        ],
        "The model": [
            Panel(
                "First token",
                "s",
                "From the call to the model's first token: loading it and reading the prompt.",
                quantiles("gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai_request_model"),
            ),
            Panel(
                "Whole call",
                "s",
                "From the call to its end, however it ends.",
                quantiles("gen_ai_client_operation_duration_seconds", "gen_ai_request_model"),
            ),
            Panel(
                "Calls",
                "ops",
                "Calls by how they ended; cancelled is who asked going away, or an answer that was stopped.",
                rate("gen_ai_client_operation_duration_seconds_count", "gen_ai_request_model, error_type"),
            ),
            Panel(
                "Rests",
                "short",
                "How often in 15 minutes a model failed so often in a row that it was let rest.",
                {"{{gen_ai_request_model}}": "knts:model_rests:new15m"},
            ),
        ],
        "Tokens and cost": [
            Panel(
                "Tokens",
                "short",
                "Tokens a second that the model read and wrote. A call that is closed before its end reports none.",
                {"{{gen_ai_request_model}} {{gen_ai_token_type}}": "knts:model_tokens:rate5m"},
            ),
            Panel(
                "Tokens of a call",
                "short",
                "How many tokens a call reads and writes.",
                quantiles("gen_ai_client_token_usage", "gen_ai_token_type"),
            ),
            Panel(
                "Cost of an hour",
                "short",
                "An hour's tokens at the present rate and the prices of prices.yaml. A lower bound, as tokens are.",
                {"{{gen_ai_request_model}}": "knts:model_cost:rate5m * 3600"},
            ),
            Panel(
                "Cost of the last day, and of the budget",
                "short",
                "What the tokens of the last 24 hours cost, beside what may be spent.",
                {
                    "{{gen_ai_request_model}}": "knts:model_cost:day",
                    "budget": "knts:budget:day",
                },
            ),
        ],
    },
)

CACHE = Dashboard(
    "knts-cache",
    "kn-ts: the cache",
    "What answers are taken from, which are stale, and what changed documents took along.",
    {
        "Hits": [
            Panel(
                "Answers by where they came from",
                "ops",
                "miss: written for this asker; shared: written for another just then; hit, semantic: from the cache.",
                {"{{cache}}": "sum by (cache) (knts:answers:rate5m)"},
            ),
            Panel(
                "Answered without the model",
                "percentunit",
                "Of the answers that were given, those that the model did not have to write for this asker.",
                {"from the cache or shared": "knts:answers_from_cache:ratio10m"},
            ),
            Panel(
                "Look-ups",
                "ops",
                "Look-ups by a key, at ingress and in llm-answer. One question may be looked up in both.",
                rate("knts_cache_reads_total", "job, outcome"),
            ),
            Panel(
                "Other wordings",
                "ops",
                "Questions without a cached answer of their own, where the semantic tier is on, by what came of it: "
                "served, or why the likest answer was not.",
                rate("knts_cache_rewordings_total", "outcome, guard"),
            ),
            Panel(
                "Whole answers from the cache",
                "s",
                "From the question's arrival to the end of an answer that came from the cache.",
                quantiles("knts_answer_duration_seconds", where='cache="hit"'),
            ),
        ],
        "What changes": [
            Panel(
                "Stale answers served",
                "ops",
                "Answers told, marked as stale, since a document that they cite has changed after they were written.",
                rate("knts_answers_stale_total", "cache"),
            ),
            Panel(
                "Answers forgotten",
                "ops",
                "Cached answers that cache-writer dropped, since a document of theirs changed or was removed.",
                rate("knts_cache_forgotten_total"),
            ),
            Panel(
                "Look-ups that failed",
                "percentunit",
                "Look-ups that the cache did not answer; the model writes these answers.",
                {"failed": "knts:cache_errors:ratio10m"},
            ),
        ],
    },
)

BROKER = Dashboard(
    "knts-broker",
    "kn-ts: the Broker",
    "Queues, deliveries, retries and dead letters; the development broker's and Knative's own figures.",
    {
        "Dead letters": [
            Panel(
                "New dead letters",
                "short",
                "Events of the last 15 minutes that could not be delivered, by type and by their function's answer.",
                {"{{type}} {{code}}": "knts:dead_letters:new15m"},
            ),
            Panel(
                "Given up for good",
                "short",
                "Events of the last 15 minutes without a dead-letter sink, or in circles (ttl). Development broker.",
                {"{{trigger}} {{why}}": "knts:events_discarded:new15m"},
            ),
            Panel(
                "Deliveries that failed",
                "percentunit",
                "Of each Trigger's deliveries, those that did not succeed, whether they are tried again or not.",
                {"{{trigger}} ({{broker}})": "knts:deliveries_failed:ratio10m"},
            ),
        ],
        "The development broker": [
            Panel(
                "Queue",
                "short",
                "Events that wait for each Trigger's subscriber, or for its dead-letter sink.",
                {"{{trigger}} {{sink}}": "knts:broker_queue:depth"},
            ),
            Panel(
                "Under way and awaiting a retry",
                "short",
                "Deliveries that are being answered, and events whose next attempt is due later.",
                {
                    "{{trigger}} under way": "sum by (trigger) (knts_broker_deliveries_running)",
                    "{{trigger}} awaiting a retry": "sum by (trigger) (knts_broker_retries_waiting)",
                },
            ),
            Panel(
                "Deliveries",
                "ops",
                "Attempts by what followed: delivered, retried, dead-lettered.",
                rate("knts_broker_deliveries_total", "trigger, outcome"),
            ),
            Panel(
                "One attempt",
                "s",
                "How long a subscriber takes to answer.",
                quantiles("knts_broker_delivery_seconds", "trigger"),
            ),
            Panel(
                "Accepting",
                "s",
                "From a publisher's request to its 202, when the event is durable.",
                quantiles("knts_broker_accept_seconds"),
            ),
            Panel(
                "Accepted",
                "ops",
                "Events that were accepted, and whether any Trigger wanted them.",
                rate("knts_broker_accepted_total", "matched"),
            ),
        ],
        "Knative's broker": [
            Panel(
                "Deliveries",
                "ops",
                "Attempts of the broker's filter by Trigger and by the subscriber's answer.",
                {"{{trigger}} {{http_response_status_code}}": "knts:knative_deliveries:rate5m"},
            ),
            Panel(
                "One attempt",
                "s",
                "How long a subscriber, or the channel, takes to answer.",
                quantiles("kn_eventing_dispatch_duration_seconds", "messaging_destination_name"),
            ),
            Panel(
                "Waiting for a pod",
                "short",
                "Requests that Knative's activator holds until a revision has room.",
                {"{{kn_revision_name}}": "sum by (kn_revision_name) (kn_revision_request_queued)"},
            ),
        ],
    },
)

DOCUMENTS = Dashboard(
    "knts-documents",
    "kn-ts: documents",
    "How late documents are searchable, and which were refused.",
    {
        "Documents": [
            Panel(
                "Lag",
                "s",
                "From an event's own time until its document was indexed or removed.",
                quantiles("knts_document_lag_seconds", "outcome"),
            ),
            Panel(
                "Worked",
                "ops",
                "Document events by what index-document made of them; done: a newer version stands already.",
                rate(
                    "messaging_process_duration_seconds_count",
                    "cloudevents_event_type, outcome, reply_type",
                    'job="kn-ts/kn-ts-index-document"',
                ),
            ),
            Panel(
                "Waiting",
                "short",
                "Events in the development broker's queue for index-document.",
                {"{{sink}}": 'sum by (sink) (knts_broker_queue_depth{trigger=~".*/index-document"})'},
            ),
            Panel(
                "Rejected",
                "short",
                "Versions refused in 15 minutes: conflict (taken before with another content), unfit for the index.",
                {"{{reason}}": "knts:documents_rejected:new15m"},
            ),
            Panel(
                "Document events that died",
                "short",
                "Dead letters of document events in 15 minutes. 4xx: broke the schema or unfit; 5xx: given up.",
                {"{{type}} {{code}}": 'knts:dead_letters:new15m{type=~"knts.document.*"}'},
            ),
            Panel(
                "Imports",
                "s",
                "How long index-document waits for Typesense.",
                quantiles(
                    "http_client_request_duration_seconds", "http_request_method", 'job="kn-ts/kn-ts-index-document"'
                ),
            ),
        ],
    },
)

DASHBOARDS = (ROAD, MODEL, CACHE, BROKER, DOCUMENTS)


def rendered(dashboard: Dashboard) -> str:
    """The dashboard as Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in dashboard.rows.items():
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        top += 1
        for number, panel in enumerate(row):
            x, y = number % 3 * WIDTH, top + number // 3 * HEIGHT
            panels.append(_panel(panel, len(panels) + 1, {"h": HEIGHT, "w": WIDTH, "x": x, "y": y}))
        top += -(-len(row) // 3) * HEIGHT
    sources = sorted({panel.source for row in dashboard.rows.values() for panel in row}, reverse=True)
    whole = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["kn-ts"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_variable(source) for source in sources]},
        "links": [{"type": "dashboards", "tags": ["kn-ts"], "title": "kn-ts", "asDropdown": True, "includeVars": True}],
        "panels": panels,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _variable(source: str) -> dict[str, Any]:
    return {"name": source, "label": SOURCES[source], "type": "datasource", "query": source, "current": {}}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": panel.source, "uid": f"${{{panel.source}}}"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": legend}
            for at, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def main(check: bool) -> int:
    """Write the dashboards, or with `check` tell which files differ or are nobody's."""
    wanted = {FOLDER / f"{dashboard.uid}.json": rendered(dashboard) for dashboard in DASHBOARDS}
    if not check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
    found = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    differing = sorted(path.name for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    for name in differing:
        print(f"{name} is not what tools/dashboards.py writes")  # noqa: T201 - what a person runs it for
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
