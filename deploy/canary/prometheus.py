"""What Prometheus is asked about a revision, by its HTTP API."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from deploy.canary.decisions import Seen

SHORTEST = 180  # seconds that a query looks back at least: three pushes by OTLP, one a minute


@dataclass(frozen=True)
class Queries:
    """PromQL: requests, failed requests, and the 95th percentile of their time, in `{range}` of `{of}`."""

    requests: str
    errors: str
    p95: str


# A delivery that is refused counts as failed: a revision that refuses what the old one takes is at fault. One without a
# status was broken off.
EVENTS = Queries(
    requests='sum(increase(http_server_request_duration_seconds_count{{{of},http_request_method="POST"}}[{range}]))',
    errors="sum(increase(http_server_request_duration_seconds_count"
    '{{{of},http_request_method="POST",http_response_status_code=~"4..|5..|"}}[{range}]))',
    p95="histogram_quantile(0.95, sum by (le) (rate(messaging_process_duration_seconds_bucket{{{of}}}[{range}])))",
)
# An answer's stream lasts as long as its answer and is 200 however it ends: it is left out of the time and counted as
# failed by its end.
PEOPLE = Queries(
    requests="sum(increase(http_server_request_duration_seconds_count{{{of}}}[{range}]))",
    errors="(sum(increase(http_server_request_duration_seconds_count"
    '{{{of},http_response_status_code=~"5.."}}[{range}])) or vector(0))'
    ' + (sum(increase(knts_answers_total{{{of},status="failed"}}[{range}])) or vector(0))',
    p95="histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket"
    '{{{of},http_route!~"/v1/answers.*"}}[{range}])))',
)


class Away(Exception):
    """Prometheus did not answer the question; the message says how."""


class Prometheus:
    """One Prometheus; `labels` tells how a series names its revision, such as `pod=~"{revision}-.*"`."""

    def __init__(self, url: str, labels: str, queries: Queries, timeout: float = 10) -> None:
        self.url, self.labels, self.queries, self.timeout = url.rstrip("/"), labels, queries, timeout

    def seen(self, revision: str, seconds: float) -> Seen:
        """What was counted of the revision in the last `seconds`. Raises Away."""
        of = self.labels.format(revision=revision)
        within = f"{math.ceil(max(seconds, SHORTEST))}s"
        requests, errors, p95 = (
            self._ask(query.format(of=of, range=within))
            for query in (self.queries.requests, self.queries.errors, self.queries.p95)
        )
        return Seen(requests or 0, errors or 0, p95)

    def _ask(self, query: str) -> float | None:
        """The query's only value; None where it has none."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=self.timeout) as reply:  # noqa: S310 - http(s), as checked
                result = json.load(reply)["data"]["result"]
            value = float(result[0]["value"][1]) if result else math.nan
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Away(f"Prometheus: {error}") from error
        return value if math.isfinite(value) else None
