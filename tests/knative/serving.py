"""What stands in for what the API server alone does not have: Serving's controller, and Prometheus."""

import copy
import json
import re
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.knative.cluster import Cluster

SERVICES = "services.serving.knative.dev"
REVISIONS = "revisions.serving.knative.dev"
BROKEN = "broken"  # in an image's name: a revision with it never gets ready


class FakeServingController(threading.Thread):
    """Sets what Serving's controller would set: a Revision for each template, and the Service's status.

    It is none: nothing runs and nothing is routed. `shares` is each Service's history of the share tagged `canary`.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.namespace = cluster, namespace
        self.templates: dict[str, list[Any]] = {}
        self.shares: dict[str, list[int]] = {}
        self.failed: BaseException | None = None
        self._over = threading.Event()

    def __enter__(self) -> "FakeServingController":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self.join()
        if self.failed and not error:
            raise self.failed

    def run(self) -> None:
        """Reconcile until it is over."""
        try:
            while not self._over.wait(0.1):
                found = self.cluster.kubectl("get", SERVICES, "-n", self.namespace, "-o", "json").stdout
                for service in json.loads(found)["items"]:
                    self._reconcile(service)
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for it
            self.failed = error

    def _reconcile(self, service: Mapping[str, Any]) -> None:
        name, generation = service["metadata"]["name"], service["metadata"]["generation"]
        shares = self.shares.setdefault(name, [])
        share = next((one["percent"] for one in service["spec"]["traffic"] if one.get("tag") == "canary"), None)
        if share is not None and share != (shares[-1] if shares else None):
            shares.append(share)
        if service.get("status", {}).get("observedGeneration") == generation:
            return
        templates = self.templates.setdefault(name, [])
        if not templates or templates[-1] != service["spec"]["template"]:
            templates.append(copy.deepcopy(service["spec"]["template"]))
            self._create(f"{name}-{len(templates):05d}", name, templates[-1])
        self._tell(name, service, templates)

    def _create(self, revision: str, service: str, template: Mapping[str, Any]) -> None:
        labels = {"serving.knative.dev/service": service}
        meta = {"name": revision, "namespace": self.namespace, "labels": labels}
        self.cluster.apply(
            {
                "apiVersion": "serving.knative.dev/v1",
                "kind": "Revision",
                "metadata": meta,
                "spec": copy.deepcopy(template["spec"]),
            }
        )
        good = BROKEN not in template["spec"]["containers"][0]["image"]
        self._status(f"{REVISIONS}/{revision}", {"conditions": [_condition("Ready", good, "no such image")]})

    def _tell(self, name: str, service: Mapping[str, Any], templates: list[Any]) -> None:
        names = [f"{name}-{number:05d}" for number in range(1, len(templates) + 1)]
        good = [one for one, it in zip(names, templates, strict=True) if BROKEN not in str(it["spec"]["containers"])]
        targets = [
            {**target, "revisionName": target.get("revisionName", good[-1])}
            | ({"url": f"http://{target['tag']}-{name}.{self.namespace}.example.com"} if target.get("tag") else {})
            for target in service["spec"]["traffic"]
        ]
        self._status(
            f"{SERVICES}/{name}",
            {
                "observedGeneration": service["metadata"]["generation"],
                "latestCreatedRevisionName": names[-1],
                "latestReadyRevisionName": good[-1],
                "traffic": targets,
                "conditions": [_condition(kind, True) for kind in ("Ready", "RoutesReady")],
            },
        )

    def _status(self, thing: str, status: Mapping[str, Any]) -> None:
        self.cluster.set_status(thing, self.namespace, status)


def _condition(kind: str, true: bool, otherwise: str = "") -> dict[str, str]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = {} if true else {"message": otherwise}
    return {"type": kind, "status": "True" if true else "False", "lastTransitionTime": now, **words}


@dataclass
class Said:
    """What the scripted Prometheus says of a revision."""

    requests: float = 1000
    errors: float = 0
    p95: float = 0.1


@dataclass
class ScriptedPrometheus:
    """Answers the canary's queries as the test says, by revision; it evaluates no PromQL.

    A revision that is not named is a good one; None has no series. `away` answers 503 to everything.
    """

    said: dict[str, Said | None] = field(default_factory=dict)
    away: bool = False
    url: str = ""

    def __enter__(self) -> "ScriptedPrometheus":
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
                value = script.value(query)
                result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
                self.send_response(503 if script.away else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def value(self, query: str) -> float | None:
        """The value of one of the three queries."""
        named = re.search(r'instance=~"([\w-]+)-deployment-\.\*"', query)
        assert named, query
        said = self.said.get(named[1], Said())
        if said is None:
            return None
        if "histogram_quantile" in query:
            return said.p95
        return said.errors if "response_status_code" in query else said.requests
