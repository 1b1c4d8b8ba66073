"""What must agree between the objects of one deployment, and no schema can tell. Objects in, sentences out; no I/O."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from knts.devbroker.fields import Field, ManifestError

Object = Mapping[str, Any]

SECRETS = {  # made by hand in a cluster (deploy/README.md), with these keys
    "kn-ts": {"KNTS_SIGNING_KEY", "KNTS_OPERATOR_KEY", "TYPESENSE_API_KEY", "REDIS_PASSWORD", "REDIS_CACHE_PASSWORD"},
    "kn-ts-keys": {"keys.yaml"},
    "grafana": {"admin-password"},
}
PUBLIC = {"ingress"}  # functions that are reachable from outside
BROKER_FLIGHTS = 50  # deliveries that the Kafka broker keeps in flight for a Trigger
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Service"}  # Service: Knative's


def faults(objects: Iterable[Object], *, patched: bool = True) -> list[str]:
    """Everything that does not agree, each as a sentence that names the object.

    Not `patched`: the objects are as their files have them, so what patches add to them is not asked for.
    """
    deployed = Deployed(objects)
    return [fault for check in (CHECKS if patched else UNPATCHED) for fault in check(deployed)]


class Deployed:
    """The objects of one deployment, by kind and name."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = list(objects)
        self.eventing_only = not any(map(is_function, self.objects))

    def of(self, kind: str, group: str | None = None) -> list[Object]:
        """The objects of a kind; `group` tells Knative's Service from the core's."""
        return [one for one in self.objects if one["kind"] == kind and group in (None, group_of(one))]

    def names(self, kind: str, group: str | None = None) -> set[str]:
        return {name(one) for one in self.of(kind, group)}

    def keys(self, kind: str) -> dict[str, set[str]]:
        """The keys of every ConfigMap or Secret."""
        found = {name(one): {*one.get("data", {}), *one.get("stringData", {})} for one in self.of(kind)}
        return {**SECRETS, **found} if kind == "Secret" else found

    @property
    def functions(self) -> list[Object]:
        return [one for one in self.objects if is_function(one)]

    @property
    def pods(self) -> list[tuple[str, Object]]:
        """The template of every workload's pods, with who it is of."""
        return [(whose(one), template) for one in self.objects if (template := pod_template(one)) is not None]


def group_of(one: Object) -> str:
    return str(one["apiVersion"]).rpartition("/")[0]


def name(one: Object) -> str:
    return str(one["metadata"]["name"])


def whose(one: Object) -> str:
    return f"{one['kind']} {name(one)}"


def is_function(one: Object) -> bool:
    return bool(one["kind"] == "Service" and group_of(one) == "serving.knative.dev")


def pod_template(one: Object) -> Object | None:
    """A workload's template of pods, with the labels that Knative adds to those of its Services."""
    if one["kind"] not in WORKLOADS or (one["kind"] == "Service" and not is_function(one)):
        return None
    spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    template: Object = spec["template"]
    if not is_function(one):
        return template
    meta = template.get("metadata", {})
    return {
        **template,
        "metadata": {**meta, "labels": {**meta.get("labels", {}), "serving.knative.dev/service": name(one)}},
    }


def labels(template: Object) -> dict[str, str]:
    return dict(template.get("metadata", {}).get("labels", {}))


def matches(selector: Object, given: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels."""
    if any(given.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_expression(one, given) for one in selector.get("matchExpressions", ()))


def _expression(one: Object, given: Mapping[str, str]) -> bool:
    if one["operator"] == "In":
        return given.get(one["key"]) in one["values"]
    if one["operator"] == "NotIn":
        return given.get(one["key"]) not in one["values"]
    return bool((one["key"] in given) == (one["operator"] == "Exists"))


def repeated(deployed: Deployed) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for one in deployed.objects:
        key = group_of(one), str(one["kind"]), name(one)
        if key in seen:
            yield f"{whose(one)}: is there twice"
        seen.add(key)


def selectors(deployed: Deployed) -> Iterator[str]:
    """Selectors that select no pod, each single value of an `In` among them, or not the pods of their own workload."""
    pods = [labels(template) for _, template in deployed.pods]
    for one in () if deployed.eventing_only else deployed.objects:
        for selector in _selectors(one):
            for narrow in _narrowed(selector):
                if narrow and not any(matches(narrow, given) for given in pods):
                    yield f"{whose(one)}: selects no pod by {narrow}"
        if one["kind"] in ("Deployment", "StatefulSet") and not matches(
            one["spec"]["selector"], labels(one["spec"]["template"])
        ):
            yield f"{whose(one)}: its selector does not select its own pods"


def _selectors(one: Object) -> Iterator[Object]:
    spec = one.get("spec") or {}
    if one["kind"] == "Service" and not is_function(one):
        yield {"matchLabels": spec.get("selector", {})}
    if one["kind"] == "NetworkPolicy":
        yield spec["podSelector"]
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            for peer in (*rule.get("from", ()), *rule.get("to", ())):
                if "namespaceSelector" not in peer:
                    yield peer.get("podSelector", {})
    if one["kind"] in ("PodDisruptionBudget", "AuthorizationPolicy", "RequestAuthentication"):
        yield spec.get("selector", {})


def _narrowed(selector: Object) -> Iterator[Object]:
    """The selector, and each of the selectors that it stands for by an `In` with several values."""
    yield selector
    for one in selector.get("matchExpressions", ()):
        if one["operator"] == "In":
            for value in one["values"]:
                yield {"matchLabels": {**selector.get("matchLabels", {}), one["key"]: value}}


def deliveries(deployed: Deployed) -> Iterator[str]:
    """Triggers and Brokers that lose something, or deliver to nobody."""
    services, brokers = deployed.names("Service", "serving.knative.dev"), deployed.names("Broker")
    for one in (*deployed.of("Broker"), *deployed.of("Trigger")):
        spec = one["spec"]
        delivery = spec.get("delivery", {})
        wanted = ("retry", "backoffPolicy", "backoffDelay", "deadLetterSink")
        for key in wanted if one["kind"] == "Broker" else (*wanted, "timeout"):
            if key not in delivery:
                yield f"{whose(one)}: has no delivery.{key}"
        for destination in (spec.get("subscriber"), delivery.get("deadLetterSink")):
            reference = (destination or {}).get("ref")
            if reference and not deployed.eventing_only and reference["name"] not in services:
                yield f"{whose(one)}: delivers to {reference['name']}, which is no function"
        if one["kind"] == "Trigger" and spec["broker"] not in brokers:
            yield f"{whose(one)}: there is no Broker {spec['broker']}"
    for one in deployed.of("EventType"):
        if one["spec"]["reference"]["name"] not in brokers:
            yield f"{whose(one)}: there is no Broker {one['spec']['reference']['name']}"


def references(deployed: Deployed) -> Iterator[str]:
    """ConfigMaps, Secrets, their keys, ServiceAccounts and volumes that are named and not there."""
    known = {kind: deployed.keys(kind) for kind in ("ConfigMap", "Secret")}
    claims = deployed.names("PersistentVolumeClaim")
    accounts = deployed.names("ServiceAccount")
    for owner, template in deployed.pods:
        spec = template["spec"]
        account = spec.get("serviceAccountName")
        if account and account not in accounts:
            yield f"{owner}: there is no ServiceAccount {account}"
        for kind, named, key in _named(spec):
            if named not in known[kind]:
                yield f"{owner}: there is no {kind} {named}"
            elif key is not None and key not in known[kind][named]:
                yield f"{owner}: {kind} {named} has no key {key}"
        for volume in spec.get("volumes", ()):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{owner}: there is no PersistentVolumeClaim {claim}"
        yield from _mounts(owner, spec, deployed)
    for one in deployed.of("Broker"):
        config = one["spec"].get("config", {})
        ours = config.get("kind") == "ConfigMap" and config.get("namespace", "kn-ts") == "kn-ts"
        if ours and config["name"] not in known["ConfigMap"]:
            yield f"{whose(one)}: there is no ConfigMap {config['name']}"


def _named(spec: Object) -> Iterator[tuple[str, str, str | None]]:
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        for source in container.get("envFrom", ()):
            for kind in ("ConfigMap", "Secret"):
                if reference := source.get(f"{kind[0].lower()}{kind[1:]}Ref"):
                    yield kind, reference["name"], None
        for variable in container.get("env", ()):
            for kind in ("ConfigMap", "Secret"):
                if reference := variable.get("valueFrom", {}).get(f"{kind[0].lower()}{kind[1:]}KeyRef"):
                    yield kind, reference["name"], reference["key"]
    for volume in spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None


def _mounts(owner: str, spec: Object, deployed: Deployed) -> Iterator[str]:
    claimed = {
        name(claim)
        for one in deployed.of("StatefulSet")
        if whose(one) == owner
        for claim in one["spec"].get("volumeClaimTemplates", ())
    }
    volumes = {volume["name"] for volume in spec.get("volumes", ())} | claimed
    for container in spec["containers"]:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{owner}: mounts {mount['name']}, which is no volume of it"


def visibility(deployed: Deployed) -> Iterator[str]:
    for one in deployed.functions:
        private = one["metadata"].get("labels", {}).get("networking.knative.dev/visibility") == "cluster-local"
        if private == (name(one) in PUBLIC):
            yield f"{whose(one)}: must {'not ' if private else ''}be cluster-local"


def deadlines(deployed: Deployed) -> Iterator[str]:
    """client < answer with its queue < Serving's timeoutSeconds <= the Trigger's delivery.timeout."""
    lasts = {name(one): one["spec"]["template"]["spec"].get("timeoutSeconds", 300) for one in deployed.functions}
    for one in deployed.of("Trigger"):
        delivery = one["spec"].get("delivery", {})
        timeout = _seconds(delivery)
        for destination in (one["spec"].get("subscriber"), delivery.get("deadLetterSink")):
            target = ((destination or {}).get("ref") or {}).get("name", "")
            if timeout and lasts.get(target, 0) > timeout:
                yield f"{whose(one)}: gives up after {timeout:g} s, but {target} may take {lasts[target]} s"
    settings = _settings(deployed)
    if not settings:
        return
    answer, unheard = int(settings["KNTS_ANSWER_DEADLINE"]), int(settings["KNTS_ASYNC_DEADLINE"])
    if not answer < unheard < lasts.get("llm-answer", unheard + 1):
        yield f"ConfigMap kn-ts: {answer} s for an answer, {unheard} for one unheard, llm-answer's time-out: must rise"
    for one in deployed.functions:
        spec = one["spec"]["template"]["spec"]
        starts = spec.get("responseStartTimeoutSeconds", spec.get("timeoutSeconds", 300))
        if name(one) in PUBLIC and starts <= answer:
            yield f"{whose(one)}: a JSON answer may begin after {answer} s, and is cut off after {starts}"


def _seconds(delivery: Object) -> float:
    try:
        return Field("", "", dict(delivery))["timeout"].duration(0.0)
    except ManifestError:
        return 0.0  # the development broker's own check names it


def _settings(deployed: Deployed) -> Mapping[str, str]:
    for one in deployed.of("ConfigMap"):
        if re.fullmatch("kn-ts(-[a-z0-9]{10})?", name(one)):
            return dict(one["data"])
    return {}


def flights(deployed: Deployed) -> Iterator[str]:
    """Leaders hold their delivery while they wait: there must be room for others beside them."""
    settings = _settings(deployed)
    if not settings:
        return
    held = int(settings["KNTS_QUEUE"]) + int(settings["KNTS_MODEL_SLOTS"])
    if held >= BROKER_FLIGHTS:
        yield f"ConfigMap kn-ts: KNTS_QUEUE and KNTS_MODEL_SLOTS are {held}; a Broker keeps {BROKER_FLIGHTS} in flight"
    for one in deployed.functions:
        limit = one["spec"]["template"]["spec"].get("containerConcurrency", 0)
        if name(one) == "llm-answer" and 0 < limit <= held:
            yield f"{whose(one)}: takes {limit} at a time, and {held} may be waiting"


def restricted(deployed: Deployed) -> Iterator[str]:
    """Pods that Pod Security "restricted" would refuse, that get a token, or may use what others need."""
    for owner, template in deployed.pods:
        spec = template["spec"]
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{owner}: mounts a token"
        shared = spec.get("securityContext", {})
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            own = container.get("securityContext", {})
            for key, right in (("runAsNonRoot", True), ("seccompProfile", {"type": "RuntimeDefault"})):
                if own.get(key, shared.get(key)) != right:
                    yield f"{owner}: {key} must be {right}"
            for key, right in (("allowPrivilegeEscalation", False), ("readOnlyRootFilesystem", True)):
                if own.get(key) is not right:
                    yield f"{owner}: {key} must be {right}"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{owner}: capabilities must be dropped, ALL of them"
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get(
                "limits", {}
            ):
                yield f"{owner}: says not how much CPU and memory it needs, or how much memory it may take"


def images(deployed: Deployed) -> Iterator[str]:
    """Images of others under a name that moves."""
    for owner, template in deployed.pods:
        for container in template["spec"]["containers"]:
            image = str(container.get("image", ""))
            ours = "kn-ts" in image
            if not image or (not ours and (":" not in image or image.endswith(":latest"))):
                yield f"{owner}: its image {image!r} is not pinned"


UNPATCHED: tuple[Callable[[Deployed], Iterator[str]], ...] = (
    repeated,
    selectors,
    deliveries,
    references,
    visibility,
    deadlines,
    flights,
)
CHECKS = (*UNPATCHED, restricted, images)
