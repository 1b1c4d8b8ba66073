"""The real data plane on a real API server: Eventing's controllers, the multi-tenant broker, the in-memory channel.

What Knative asks for and a cluster has besides is said by hand: that the dispatcher's Deployment is available, that
Services have Endpoints. No Serving controller runs: a Knative Service is as real as its admission, and its address is
where the tests have started the function (`serve`).
"""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from knts.local.process import http_status
from tests.knative.cluster import EVENTING, ROOT, Cluster, module

INGRESS, FILTER, DISPATCHER = "10.90.0.21", "10.90.0.22", "10.90.0.23"
PODS = {  # program: address, service account, the rest of its environment
    "eventing-channel_controller": (
        "10.90.0.24",
        "imc-controller",
        {
            "WEBHOOK_NAME": "inmemorychannel-webhook",
            "WEBHOOK_PORT": "443",
            "DISPATCHER_IMAGE": "none",  # it stands in the Deployment, which nobody starts
        },
    ),
    "eventing-channel_dispatcher": (
        DISPATCHER,
        "imc-dispatcher",
        {"CONTAINER_NAME": "dispatcher", "MAX_IDLE_CONNS": "1000", "MAX_IDLE_CONNS_PER_HOST": "1000"},
    ),
    "eventing-controller": (
        "10.90.0.25",
        "eventing-controller",
        {"APISERVER_RA_IMAGE": "none", "AUTH_PROXY_IMAGE": "none"},
    ),
    "eventing-mtchannel_broker": ("10.90.0.26", "eventing-controller", {}),
    "eventing-filter": (
        FILTER,
        "mt-broker-filter",
        {"NAMESPACE": EVENTING, "CONTAINER_NAME": "filter", "FILTER_PORT": "80"},
    ),
    "eventing-ingress": (INGRESS, "mt-broker-ingress", {"CONTAINER_NAME": "ingress", "INGRESS_PORT": "80"}),
}
SERVICES = {  # name: address, ports; all are reached on 80 or 443
    "inmemorychannel-webhook": ("10.90.0.24", {443: 443}),
    "broker-ingress": (INGRESS, {80: 80}),
    "broker-filter": (FILTER, {80: 80}),
    "imc-dispatcher": (DISPATCHER, {80: 8080}),
}
PROBE = {"User-Agent": "kube-probe/1.35"}  # others get 404 from /healthz
BROKER_URL = f"http://broker-ingress.{EVENTING}.svc.cluster.local:80"
READY_SECONDS = 90.0


class Plane:
    """Brokers and Triggers on it work as in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def broker_url(self, namespace: str, name: str) -> str:
        """Where events for that Broker are posted."""
        return f"{BROKER_URL}/{namespace}/{name}"

    def serve(self, namespace: str, addresses: Mapping[str, str]) -> None:
        """Say of each Knative Service, by name, that it is ready at that address."""
        for name, url in addresses.items():
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            status = {"url": url, "address": {"url": url}, "conditions": [ready], "observedGeneration": 1}
            self.cluster.set_status(f"services.serving.knative.dev/{name}", namespace, status)

    def ready(self, namespace: str) -> None:
        """Wait until all Brokers and Triggers there are ready in their newest form."""

        def are_ready() -> bool:
            return all(_is_ready(each) for each in self.told(namespace, "brokers,triggers"))

        self.cluster.wait(f"the Brokers and Triggers of {namespace} are ready", are_ready, READY_SECONDS)

    def told(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        """All objects of that kind there."""
        said = self.cluster.kubectl("get", kind, "-n", namespace, "-o", "json").stdout
        items: list[dict[str, Any]] = json.loads(said)["items"]
        return items


def _is_ready(found: Mapping[str, Any]) -> bool:
    status = found.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    return conditions.get("Ready") == "True" and status.get("observedGeneration") == found["metadata"]["generation"]


def start_plane(cluster: Cluster, brokers: Iterable[tuple[str, str]]) -> Plane:
    """The data plane; `brokers` are the (namespace, name) that will be made on it, whose channels must have names."""
    for namespace, name in brokers:
        cluster.name(DISPATCHER, f"{name}-kne-trigger-kn-channel.{namespace}.svc.cluster.local")
    eventing = module("knative.dev/eventing") / "config"
    channel = eventing / "channels" / "in-memory-channel"
    for name, (address, ports) in SERVICES.items():
        cluster.service(EVENTING, name, address, ports)
    cluster.kubectl("apply", "--server-side", "-f", str(channel / "webhooks"))
    cluster.kubectl("apply", "--server-side", "-f", str(channel / "deployments" / "dispatcher.yaml"))
    available = {"conditions": [{"type": "Available", "status": "True"}]}
    cluster.set_status("deployments.apps/imc-dispatcher", EVENTING, available)
    for name, (address, account, env) in PODS.items():
        cluster.start_pod(name, address, EVENTING, account, env)
    forward = [sys.executable, "-m", "tests.knative.forward", "80", "8080"]
    inside = ["ip", "netns", "exec", "eventing-channel_dispatcher", *forward]
    cluster.start("dispatcher-forward", inside, {"PYTHONPATH": str(ROOT)})
    for address in (INGRESS, FILTER, DISPATCHER):

        def healthy(url: str = f"http://{address}/healthz") -> bool:
            return http_status(url, headers=PROBE)[0] in (200, 204)

        cluster.wait(f"{address} answers", healthy, READY_SECONDS)
    return Plane(cluster)
