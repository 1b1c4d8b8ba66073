"""What the overlays come to is admitted by a real API server with Knative's and Istio's definitions and webhooks.

RabbitMQ's definitions are not at hand, so the one object of its own kind is left out.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from knts.local import crosschecks, kustomized
from tests.knative.cluster import EVENTING, Cluster, Refused, module

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = {"RabbitmqBrokerConfig"}
POLICIES = ("eventing/overlays/local", ("eventing/components/sinkbinding", "eventing/components/event-policies"))
COMBINATIONS = [
    pytest.param(base, components, id=kustomized.title(base, components))
    for base, components in kustomized.combinations(ROOT)
]
Objects = list[dict[str, Any]]


def built(cluster: Cluster, base: str, components: tuple[str, ...] = ()) -> Objects:
    return kustomized.build(ROOT, base, components, str(cluster.programs / "kubectl"))


def admit(cluster: Cluster, objects: Objects) -> subprocess.CompletedProcess[str]:
    """Have the objects defaulted and validated, by schemas and webhooks, and not kept. Raises Refused."""
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    return cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(items))


@pytest.fixture(scope="module", autouse=True)
def prepared(cluster: Cluster) -> Iterator[None]:
    """The namespace of the overlays, since a dry run makes none that what follows could be in; and OIDC switched on."""
    cluster.apply(*[one for one in built(cluster, "deploy/overlays/production") if one["kind"] == "Namespace"])
    switch_oidc(cluster, "enabled")
    yield
    switch_oidc(cluster, "disabled")


def switch_oidc(cluster: Cluster, state: str) -> None:
    """Knative's feature authentication-oidc, which event policies need; back when the webhook has noticed."""
    patch = json.dumps({"data": {"authentication-oidc": state}})
    cluster.kubectl("patch", "configmap", "config-features", "-n", EVENTING, "--type=merge", "-p", patch)
    policies = [one for one in built(cluster, *POLICIES) if one["kind"] == "EventPolicy"]

    def noticed() -> bool:
        try:
            admit(cluster, policies)
        except Refused as refused:
            assert "oidc-authentication feature not enabled" in str(refused)
            return state == "disabled"
        return state == "enabled"

    cluster.wait(f"authentication-oidc is {state}", noticed)


@pytest.mark.parametrize(("base", "components"), COMBINATIONS)
def test_a_combination_is_admitted(cluster: Cluster, base: str, components: tuple[str, ...]) -> None:
    objects = [one for one in built(cluster, base, components) if one["kind"] not in UNKNOWN]
    done = admit(cluster, objects)
    assert len(done.stdout.splitlines()) == len(objects)
    assert "Warning" not in done.stderr, done.stderr


def test_no_pod_of_ours_breaks_the_namespaces_pod_security(cluster: Cluster) -> None:
    """The functions' pods too, as they stand in the Services: Knative would add its queue-proxy."""
    everything = tuple(f"deploy/components/{name}" for name in ("istio", "ollama-gpu"))
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": "kn-ts", "labels": crosschecks.labels(template)},
            "spec": pod_spec(template),
        }
        for number, (_, template) in enumerate(
            crosschecks.Deployed(built(cluster, "deploy/overlays/production", everything)).pods
        )
    ]
    assert len(pods) > 9
    admit(cluster, pods)
    pods[0]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(Refused, match='violates PodSecurity "restricted'):
        admit(cluster, pods)


def pod_spec(template: Any) -> dict[str, Any]:
    """The template's spec without what only Knative knows, and with the ports and volumes that are added."""
    spec = {
        key: value
        for key, value in template["spec"].items()
        if key not in ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds")
    }
    spec = json.loads(json.dumps(spec))
    for container in spec["containers"]:
        for probe in ("livenessProbe", "readinessProbe"):
            container.get(probe, {}).get("httpGet", {}).setdefault("port", 8080)
    there = {volume["name"] for volume in spec.get("volumes", ())}
    mounted = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", ())}
    return {
        **spec,
        "volumes": [*spec.get("volumes", ()), *({"name": name, "emptyDir": {}} for name in sorted(mounted - there))],
    }


MISTAKES: dict[str, tuple[str, str, Any, str]] = {  # what: the object, where in it, what is put there, what is said
    "Broker": ("Broker/kn-ts", "spec.delivery.backoffPolicy", "cubic", "invalid value: cubic"),
    "Trigger, without a subscriber": ("Trigger/search", "spec.subscriber", {}, "spec.subscriber"),
    "Trigger, a time that is none": ("Trigger/search", "spec.delivery.timeout", "20 s", "spec.delivery.timeout"),
    "Trigger, a filter in no dialect": ("Trigger/search", "spec.filters", [{"exakt": {"type": "x"}}], "exakt"),
    "EventType": ("EventType/knts.passages.found.v1", "spec.attributes", [{"required": True}], "name"),
    "EventPolicy": ("EventPolicy/producers-to-broker", "spec.from", [{"sub": "a", "ref": {"kind": "x"}}], "spec.from"),
    "SinkBinding": ("SinkBinding/producer", "spec.sink", {}, "spec.sink"),
    "Knative Service, too long": ("Service/search", "spec.template.spec.timeoutSeconds", 601, "601"),
    "Knative Service, scaled by nothing known": (
        "Service/search",
        "spec.template.metadata.annotations",
        {"autoscaling.knative.dev/metric": "luck", "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev"},
        "luck",
    ),
    "Knative Service, a container that may do all": (
        "Service/search",
        "spec.template.spec.containers.0.securityContext",
        {"privileged": True},
        "privileged",
    ),
    "StatefulSet": ("StatefulSet/typesense", "spec.selector", {"matchLabels": {"a": "b"}}, "does not match"),
    "Deployment": ("Deployment/redis-cache", "spec.strategy.type", "Sudden", "Sudden"),
    "CronJob": ("CronJob/typesense-snapshots", "spec.schedule", "nightly", "spec.schedule"),
    "Job": ("Job/ollama-model", "spec.template.spec.restartPolicy", "Always", "restartPolicy"),
    "PersistentVolumeClaim": ("PersistentVolumeClaim/ollama-models", "spec.accessModes", ["Sometimes"], "Sometimes"),
    "ConfigMap": ("ConfigMap/broker-address", "data", {"K_SINK": 1}, "ConfigMap.data of type string"),
    "ServiceAccount": (
        "ServiceAccount/search",
        "automountServiceAccountToken",
        "never",
        "automountServiceAccountToken",
    ),
    "Namespace": ("Namespace/kn-ts", "metadata.labels", {"pod-security.kubernetes.io/enforce": "strict"}, "strict"),
    "NetworkPolicy": ("NetworkPolicy/redis", "spec.ingress.0.ports.0.port", 70000, "port"),
    "PodDisruptionBudget": ("PodDisruptionBudget/search", "spec.maxUnavailable", 1, "cannot be both set"),
    "PeerAuthentication": ("PeerAuthentication/strict", "spec.mtls.mode", "STRIKT", "STRIKT"),
    "DestinationRule": ("DestinationRule/redis", "spec.trafficPolicy.tls.mode", "OURS", "OURS"),
    "Gateway": ("Gateway/answers", "spec.servers.0.tls.mode", "SINGLE", "SINGLE"),
    "VirtualService": ("VirtualService/answers", "spec.http.0.retries.attempts", "none", "attempts"),
    "AuthorizationPolicy": ("AuthorizationPolicy/redis", "spec.action", "PERMIT", "PERMIT"),
    "RequestAuthentication": ("RequestAuthentication/people", "spec.jwtRules.0.issuer", "", "issuer"),
}


@pytest.fixture(scope="module")
def everything(cluster: Cluster) -> Objects:
    *_, (base, components) = kustomized.combinations(ROOT)
    assert base == "deploy/overlays/production"
    return built(cluster, base, components)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(cluster: Cluster, everything: Objects, mistake: str) -> None:
    which, path, value, said = MISTAKES[mistake]
    kind, name = which.split("/")
    found = [
        one
        for one in everything
        if one["kind"] == kind
        and one["metadata"]["name"] == name
        and (kind != "Service" or crosschecks.is_function(one))
    ]
    assert len(found) == 1
    wrong = json.loads(json.dumps(found[0]))
    *parents, last = path.split(".")
    place = wrong
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = value
    admit(cluster, found)
    with pytest.raises(Refused) as refused:
        admit(cluster, [wrong])
    assert said in str(refused.value)


def test_a_mistake_of_each_kind_is_planted(everything: Objects) -> None:
    ours = {one["kind"] for one in everything}
    assert {which.split("/")[0] for which, *_ in MISTAKES.values()} == ours


def test_skaffold_knows_every_word_of_its_file() -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    version = config["apiVersion"].removeprefix("skaffold/")
    skaffold = module("github.com/GoogleContainerTools/skaffold/v2")
    schema = skaffold / f"docs-v2/content/en/schemas/{version}.json"
    validator = jsonschema_rs.validator_for(json.loads(schema.read_text()))
    assert [str(error) for error in validator.iter_errors(config)] == []
    assert not validator.is_valid({**config, "deploys": {}})
