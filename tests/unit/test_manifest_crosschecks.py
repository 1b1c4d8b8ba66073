"""A planted mistake of each kind in the manifests is named."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from knts.local import crosschecks, kustomized

ROOT = Path(__file__).parents[2]
EVERYTHING = (
    "deploy/components/istio",
    "deploy/components/jwt",
    "deploy/components/ollama-gpu",
    "deploy/components/oidc",
    "eventing/components/sinkbinding",
    "eventing/components/event-policies",
)
Objects = list[dict[str, Any]]


@cache
def _production() -> Objects:
    return kustomized.gathered(ROOT, "deploy/overlays/production", EVERYTHING)


@pytest.fixture
def objects() -> Objects:
    """Production with every component, as the files have it."""
    return copy.deepcopy(_production())


def one(objects: Objects, kind: str, name: str, group: str | None = None) -> dict[str, Any]:
    [found] = [
        candidate
        for candidate in objects
        if (candidate["kind"], candidate["metadata"]["name"]) == (kind, name)
        and group in (None, crosschecks.group_of(candidate))
    ]
    return found


def function(objects: Objects, name: str) -> dict[str, Any]:
    return one(objects, "Service", name, "serving.knative.dev")


def template(objects: Objects, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = function(objects, name)["spec"]["template"]["spec"]
    return spec


def test_what_is_committed_has_none(objects: Objects) -> None:
    assert crosschecks.faults(objects, patched=False) == []


MISTAKES: dict[str, tuple[Callable[[Objects], Any], str]] = {
    "an object twice": (
        lambda o: o.append(one(o, "Trigger", "search")),
        "Trigger search: is there twice",
    ),
    "a Service that selects nothing": (
        lambda o: one(o, "Service", "typesense")["spec"]["selector"].update({"app.kubernetes.io/name": "typesens"}),
        "Service typesense: selects no pod",
    ),
    "a network policy for a function that is called otherwise": (
        lambda o: one(o, "NetworkPolicy", "to-redis")["spec"]["podSelector"]["matchExpressions"][0]["values"].append(
            "llm_answer"
        ),
        "NetworkPolicy to-redis: selects no pod",
    ),
    "a network policy that lets in nobody who is there": (
        lambda o: one(o, "NetworkPolicy", "redis")["spec"]["ingress"][0]["from"].append(
            {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "reader"}}}
        ),
        "NetworkPolicy redis: selects no pod",
    ),
    "a budget for nobody": (
        lambda o: one(o, "PodDisruptionBudget", "search")["spec"]["selector"]["matchLabels"].update({"x": "y"}),
        "PodDisruptionBudget search: selects no pod",
    ),
    "an authorization policy for nobody": (
        lambda o: one(o, "AuthorizationPolicy", "redis")["spec"]["selector"]["matchLabels"].update({"x": "y"}),
        "AuthorizationPolicy redis: selects no pod",
    ),
    "a StatefulSet that is not its pods'": (
        lambda o: one(o, "StatefulSet", "redis")["spec"]["selector"]["matchLabels"].update({"x": "y"}),
        "StatefulSet redis: its selector does not select its own pods",
    ),
    "a Trigger to nobody": (
        lambda o: one(o, "Trigger", "search")["spec"]["subscriber"]["ref"].update(name="serach"),
        "Trigger search: delivers to serach, which is no function",
    ),
    "a dead-letter sink that is not there": (
        lambda o: one(o, "Trigger", "passages")["spec"]["delivery"]["deadLetterSink"]["ref"].update(name="letters"),
        "Trigger passages: delivers to letters",
    ),
    "a Trigger without a dead-letter sink": (
        lambda o: one(o, "Trigger", "llm-answer")["spec"]["delivery"].pop("deadLetterSink"),
        "Trigger llm-answer: has no delivery.deadLetterSink",
    ),
    "a Trigger without a time-out": (
        lambda o: one(o, "Trigger", "llm-answer")["spec"]["delivery"].pop("timeout"),
        "Trigger llm-answer: has no delivery.timeout",
    ),
    "a Broker without a dead-letter sink": (
        lambda o: one(o, "Broker", "kn-ts")["spec"]["delivery"].pop("deadLetterSink"),
        "Broker kn-ts: has no delivery.deadLetterSink",
    ),
    "a Trigger of another Broker": (
        lambda o: one(o, "Trigger", "search")["spec"].update(broker="default"),
        "Trigger search: there is no Broker default",
    ),
    "an event type of another Broker": (
        lambda o: one(o, "EventType", "knts.passages.found.v1")["spec"]["reference"].update(name="default"),
        "EventType knts.passages.found.v1: there is no Broker default",
    ),
    "a ConfigMap that is not there": (
        lambda o: o.remove(one(o, "ConfigMap", "broker-address")),
        "Service ingress: there is no ConfigMap broker-address",
    ),
    "a key that is not in the ConfigMap": (
        lambda o: one(o, "ConfigMap", "broker-address")["data"].pop("K_SINK"),
        "Service ingress: ConfigMap broker-address has no key K_SINK",
    ),
    "a key that is not in the Secret": (
        lambda o: template(o, "search")["containers"][0]["env"][1]["valueFrom"]["secretKeyRef"].update(key="SIGNING"),
        "Service search: Secret kn-ts has no key SIGNING",
    ),
    "a Secret that nobody is told to make": (
        lambda o: template(o, "ingress")["volumes"][0]["secret"].update(secretName="keys"),
        "Service ingress: there is no Secret keys",
    ),
    "an account that is not there": (
        lambda o: o.remove(one(o, "ServiceAccount", "search")),
        "Service search: there is no ServiceAccount search",
    ),
    "a volume that is not there": (
        lambda o: template(o, "ingress").pop("volumes"),
        "Service ingress: mounts keys, which is no volume of it",
    ),
    "a claim that is not there": (
        lambda o: o.remove(one(o, "PersistentVolumeClaim", "ollama-models")),
        "Deployment ollama-gpu: there is no PersistentVolumeClaim ollama-models",
    ),
    "a Broker whose settings are not there": (
        lambda o: (
            o.remove(one(o, "ConfigMap", "kafka-broker"))
            or one(o, "Broker", "kn-ts")["spec"].update(config={"kind": "ConfigMap", "name": "kafka-broker"})
        ),
        "Broker kn-ts: there is no ConfigMap kafka-broker",
    ),
    "a function that is open to the world": (
        lambda o: function(o, "search")["metadata"].pop("labels"),
        "Service search: must be cluster-local",
    ),
    "an ingress that nobody reaches": (
        lambda o: function(o, "ingress")["metadata"].update(
            labels={"networking.knative.dev/visibility": "cluster-local"}
        ),
        "Service ingress: must not be cluster-local",
    ),
    "a Trigger that gives up before the function does": (
        lambda o: one(o, "Trigger", "llm-answer")["spec"]["delivery"].update(timeout="PT5M"),
        "Trigger llm-answer: gives up after 300 s, but llm-answer may take 600 s",
    ),
    "a Trigger that gives up before its dead letter is kept": (
        lambda o: template(o, "dead-letter").update(timeoutSeconds=60),
        "Trigger cache-writer: gives up after 15 s, but dead-letter may take 60 s",
    ),
    "an answer that may take longer than its request": (
        lambda o: one(o, "ConfigMap", "kn-ts")["data"].update(KNTS_ASYNC_DEADLINE="600"),
        "600 for one unheard, llm-answer's time-out: must rise",
    ),
    "a JSON answer that is cut off": (
        lambda o: template(o, "ingress").update(responseStartTimeoutSeconds=60),
        "Service ingress: a JSON answer may begin after 120 s, and is cut off after 60",
    ),
    "more leaders than deliveries": (
        lambda o: one(o, "ConfigMap", "kn-ts")["data"].update(KNTS_QUEUE="64"),
        "a Broker keeps 50 in flight",
    ),
    "more leaders than llm-answer takes": (
        lambda o: template(o, "llm-answer").update(containerConcurrency=16),
        "Service llm-answer: takes 16 at a time, and 36 may be waiting",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(objects: Objects, mistake: str) -> None:
    plant, said = MISTAKES[mistake]
    plant(objects)
    assert [fault for fault in crosschecks.faults(objects, patched=False) if said in fault]


def safe_pod() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "it"},
        "spec": {
            "selector": {"matchLabels": {"app": "it"}},
            "template": {
                "metadata": {"labels": {"app": "it"}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "image": "docker.io/valkey/valkey:9.1.1-alpine",
                            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                },
            },
        },
    }


LAX: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "root": (lambda pod, _: pod["securityContext"].pop("runAsNonRoot"), "runAsNonRoot must be True"),
    "any system call": (lambda pod, _: pod["securityContext"].pop("seccompProfile"), "seccompProfile must be"),
    "setuid": (lambda _, c: c["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    "writing": (lambda _, c: c["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem"),
    "capabilities": (lambda _, c: c["securityContext"].pop("capabilities"), "capabilities must be dropped"),
    "a token": (lambda pod, _: pod.pop("automountServiceAccountToken"), "mounts a token"),
    "all memory": (lambda _, c: c["resources"].pop("limits"), "how much memory it may take"),
    "a moving image": (lambda _, c: c.update(image="docker.io/valkey/valkey:latest"), "is not pinned"),
    "no image": (lambda _, c: c.pop("image"), "is not pinned"),
}


@pytest.mark.parametrize("lax", LAX)
def test_a_pod_that_may_too_much_is_named(lax: str) -> None:
    workload = safe_pod()
    assert crosschecks.faults([workload]) == []
    loosen, said = LAX[lax]
    pod = workload["spec"]["template"]["spec"]
    loosen(pod, pod["containers"][0])
    assert [fault for fault in crosschecks.faults([workload]) if said in fault]


@pytest.mark.skipif(kustomized.builder() is None, reason="kubectl is not there, which builds overlays")
def test_production_with_everything_is_built_and_agrees() -> None:
    built = kustomized.build(ROOT, "deploy/overlays/production", EVERYTHING, kustomized.builder() or "")
    assert crosschecks.faults(built) == []
    containers = [template["spec"]["containers"][0] for _, template in crosschecks.Deployed(built).pods]
    assert {c["image"] for c in containers if "kn-ts" in c["image"]} == {"registry.example.com/kn-ts:latest"}


@pytest.mark.skipif(kustomized.builder() is None, reason="kubectl is not there, which builds overlays")
def test_what_kustomize_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "deploy/base").mkdir(parents=True)
    (tmp_path / "eventing").mkdir()
    (tmp_path / "deploy/base/kustomization.yaml").write_text("resources: [gone.yaml]")
    with pytest.raises(kustomized.Unbuildable, match=r"gone\.yaml"):
        kustomized.build(tmp_path, "deploy/base", (), kustomized.builder() or "")
