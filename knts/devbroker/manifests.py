"""The plan in the manifests of `eventing/`: Brokers, and Triggers with their filter, delivery and subscriber.

Parsed YAML in, dataclasses out. What the broker can't do is refused by file and field, never passed over.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin

from knts.devbroker import delivery, filters
from knts.devbroker.delivery import Policy
from knts.devbroker.fields import Field, ManifestError
from knts.devbroker.filters import Attributes, Filter

API = "eventing.knative.dev/"
BROKER_CLASS = "eventing.knative.dev/broker.class"
PARALLELISM = "devbroker.kn-ts.dev/parallelism"
DELIVERY_ORDER = "kafka.eventing.knative.dev/delivery.order"  # the Kafka broker's, on its Triggers
DEFAULT_PARALLELISM = 50  # deliveries at a time, as many as the Kafka broker keeps in flight for a Trigger
DEEPEST = 16
UNUSED = frozenset({"EventType", "EventPolicy"})  # they describe and guard; there is nothing in them to deliver

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9]*\Z")
_LEAVES = {"exact": filters.exact, "prefix": filters.prefix, "suffix": filters.suffix}
_DELIVERY = ("retry", "backoffPolicy", "backoffDelay", "timeout", "retryAfterMax", "deadLetterSink")
_METADATA = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class Trigger:
    """Who gets which events, and how. `subscriber` is a URL; `parallelism` bounds its deliveries at a time.

    `ordered`: of the events of one `partitionkey` the next goes when the one before is done with.
    """

    namespace: str
    broker: str
    name: str
    subscriber: str
    policy: Policy = delivery.DEFAULT
    matches: Filter = filters.everything
    parallelism: int = DEFAULT_PARALLELISM
    ordered: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Broker:
    """A Broker with its Triggers."""

    namespace: str
    name: str
    triggers: tuple[Trigger, ...] = ()

    def matching(self, event: Attributes) -> list[Trigger]:
        """The Triggers that want an event with these attributes."""
        return [trigger for trigger in self.triggers if trigger.matches(event)]


@dataclass(frozen=True)
class Plan:
    """Every Broker by namespace and name."""

    brokers: Mapping[tuple[str, str], Broker] = field(default_factory=dict)

    def triggers(self) -> dict[str, Trigger]:
        """Every Trigger by `namespace/name`."""
        return {trigger.key: trigger for broker in self.brokers.values() for trigger in broker.triggers}


def plan(documents: Iterable[tuple[str, Any]], subscribers: Mapping[str, str], namespace: str = "default") -> Plan:
    """The plan in parsed YAML documents, each with the name of its file.

    `subscribers` gives the URL of each Knative Service by name; `namespace` is that of objects which name none.
    Raises ManifestError with every document's first fault.
    """
    reader = _Reader(subscribers, namespace)
    for file, document in documents:
        reader.document(Field(file, "", document))
    return reader.plan()


@dataclass
class _Reader:
    subscribers: Mapping[str, str]
    namespace: str
    brokers: dict[tuple[str, str], Policy | None] = field(default_factory=dict)
    triggers: dict[tuple[str, str], Field] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def document(self, doc: Field) -> None:
        if not doc:
            return  # an empty document, as between two `---`
        try:
            kind = doc["kind"].one_of({"Broker", "Trigger", *UNUSED})
            if kind in UNUSED:
                doc["apiVersion"].one_of({f"{API}{version}" for version in ("v1", "v1beta3", "v1beta2", "v1alpha1")})
            else:
                doc["apiVersion"].one_of({f"{API}v1"})
                self._known(kind, doc.only("apiVersion", "kind", "metadata", "spec"))
        except ManifestError as error:
            self.faults.append(str(error))

    def plan(self) -> Plan:
        found: dict[tuple[str, str], list[Trigger]] = {key: [] for key in self.brokers}
        for (namespace, name), doc in self.triggers.items():
            try:
                broker = namespace, doc["spec"]["broker"].text("default")
                if broker not in found:
                    doc["spec"]["broker"].refuse(f"there is no Broker {broker[1]!r} in namespace {namespace!r}")
                found[broker].append(self._trigger(namespace, name, doc, self.brokers[broker]))
            except ManifestError as error:
                self.faults.append(str(error))
        if self.faults:
            raise ManifestError("; ".join(self.faults))
        return Plan({key: Broker(*key, triggers=tuple(triggers)) for key, triggers in found.items()})

    def _known(self, kind: str, doc: Field) -> None:
        key = self._identity(doc["metadata"].only(*_METADATA))
        if key in (self.brokers if kind == "Broker" else self.triggers):
            doc["metadata"]["name"].refuse(f"there are two {kind}s {key[1]!r} in namespace {key[0]!r}")
        if kind == "Trigger":
            self.triggers[key] = doc
            return
        doc["metadata"]["annotations"][BROKER_CLASS].one_of({"MTChannelBasedBroker"}, "MTChannelBasedBroker")
        section = doc["spec"].only("delivery", "config")["delivery"]
        self.brokers[key] = self._policy(section, key[0]) if section else None

    def _identity(self, metadata: Field) -> tuple[str, str]:
        for part in (metadata["namespace"], metadata["name"]):
            if not _NAME.match(part.text(self.namespace if part.path.endswith("namespace") else None)):
                part.refuse("must be a Kubernetes name")
        return metadata["namespace"].text(self.namespace), metadata["name"].text()

    def _trigger(self, namespace: str, name: str, doc: Field, inherited: Policy | None) -> Trigger:
        spec = doc["spec"].only("broker", "filter", "filters", "subscriber", "delivery")
        policy = self._policy(spec["delivery"], namespace) if spec["delivery"] else inherited or delivery.DEFAULT
        if policy.dead_letter is None and inherited is not None:
            policy = replace(policy, dead_letter=inherited.dead_letter)
        return Trigger(
            namespace,
            spec["broker"].text("default"),
            name,
            self._address(spec["subscriber"], namespace),
            policy,
            trigger_filter(spec),
            parallelism(doc["metadata"]["annotations"][PARALLELISM]),
            ordered(doc["metadata"]["annotations"][DELIVERY_ORDER]),
        )

    def _policy(self, section: Field, namespace: str) -> Policy:
        section.only(*_DELIVERY)
        sink = section["deadLetterSink"]
        limit = section["retryAfterMax"].duration(0.0)
        return Policy(
            retry=section["retry"].whole(0),
            backoff=section["backoffPolicy"].one_of({delivery.LINEAR, delivery.EXPONENTIAL}, delivery.EXPONENTIAL),
            delay=section["backoffDelay"].duration(delivery.DEFAULT.delay),
            timeout=section["timeout"].duration(0.0) or delivery.DEFAULT.timeout,
            retry_after_max=limit or None,
            dead_letter=self._address(sink, namespace) if sink else None,
        )

    def _address(self, destination: Field, namespace: str) -> str:
        if not destination:
            destination.refuse("is required")
        destination.only("ref", "uri")
        reference, uri = destination["ref"], destination["uri"]
        base = self._service(reference, namespace) if reference else ""
        address = urljoin(base, uri.text()) if uri else base
        if not address.startswith(("http://", "https://")):
            destination.refuse("must have a ref, or an absolute http(s) uri")
        return address

    def _service(self, reference: Field, namespace: str) -> str:
        reference.only("apiVersion", "kind", "name", "namespace")
        reference["apiVersion"].one_of({"serving.knative.dev/v1"})
        reference["kind"].one_of({"Service"})
        reference["namespace"].text(namespace)
        name = reference["name"].text()
        if name not in self.subscribers:
            reference["name"].refuse(f"the Service {name!r} has no address in KNTS_SUBSCRIBERS")
        return self.subscribers[name]


def trigger_filter(spec: Field) -> Filter:
    """The filter of a Trigger's spec: non-empty `filters` override `filter`."""
    if subscriptions := [subscription(item) for item in spec["filters"].items()]:
        return filters.all_of(subscriptions)
    wanted = spec["filter"].only("attributes")["attributes"]
    return filters.attributes(_attributes(wanted, empty=True)) if wanted.mapping() else filters.everything


def subscription(item: Field, depth: int = 0) -> Filter:
    """One object of `filters`, which holds exactly one dialect."""
    if depth > DEEPEST:
        item.refuse(f"filters may nest {DEEPEST} deep")
    item.only(*_LEAVES, "all", "any", "not")
    if len(item.mapping()) != 1:
        item.refuse("must hold exactly one dialect")
    dialect = next(iter(item.mapping()))
    inner = item[dialect]
    if dialect in _LEAVES:
        return _LEAVES[dialect](_attributes(inner, empty=False))
    if dialect == "not":
        return filters.negated(subscription(inner, depth + 1))
    parts = [subscription(part, depth + 1) for part in inner.items()]
    if not parts:
        inner.refuse("must hold at least one filter")
    return filters.all_of(parts) if dialect == "all" else filters.any_of(parts)


def _attributes(wanted: Field, *, empty: bool) -> dict[str, str]:
    if not wanted.mapping():
        wanted.refuse("must name at least one attribute")
    for name, value in wanted.mapping().items():
        if not _ATTRIBUTE.match(name):
            wanted[name].refuse("attribute names are lower-case letters and digits, a letter first")
        if not isinstance(value, str) or not (value or empty):
            wanted[name].refuse("must be a text" if empty else "must be a text that is not empty")
    return wanted.mapping()


def parallelism(annotation: Field) -> int:
    """Deliveries at a time of a Trigger, from its annotation."""
    text = annotation.text(str(DEFAULT_PARALLELISM))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        annotation.refuse(f"must be a whole number from 1 to 1000 as a text, not {text!r}")
    return int(text)


def ordered(annotation: Field) -> bool:
    """Whether a Trigger asks for ordered delivery, from its annotation."""
    return annotation.one_of(("ordered", "unordered"), "unordered") == "ordered"
