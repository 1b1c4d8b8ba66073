"""What the broker reads in manifests, and what it refuses: each by the file and the field."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from knts import events, schemas
from knts.devbroker import delivery, manifests
from knts.devbroker.delivery import Policy
from knts.devbroker.fields import Field, ManifestError
from knts.devbroker.loading import Manifests, read
from knts.devbroker.manifests import Plan, Trigger

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {
    name: f"http://127.0.0.1/{name}"
    for name in ("index-document", "search", "llm-answer", "cache-writer", "dead-letter")
}
REF = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "search"}


def broker(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "b"}, "spec": spec}


def trigger(**spec: Any) -> dict[str, Any]:
    full = {"broker": "b", "subscriber": {"ref": REF}, **spec}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "t"}, "spec": full}


def planned(*documents: Any) -> Plan:
    return manifests.plan([("f.yaml", document) for document in documents], SERVICES)


def only(*documents: Any) -> Trigger:
    return planned(*documents).triggers()["default/t"]


# -- our own manifests ------------------------------------------------------------------------------------------------


def test_our_manifests_wire_the_road() -> None:
    own = Manifests(ROOT / "eventing" / "base", SERVICES)
    own.load()
    road = {
        events.DOCUMENT_UPSERTED: {"index-document"},
        events.DOCUMENT_DELETED: {"index-document"},
        events.SEARCH_REQUESTED: {"search"},
        events.ANSWER_REQUESTED: {"passages"},
        events.PASSAGES_FOUND: {"llm-answer"},
        events.ANSWER_COMPLETED: {"cache-writer"},
        events.DOCUMENT_INDEXED: {"cache-writer"},
        events.DOCUMENT_REMOVED: {"cache-writer"},
        events.DOCUMENT_REJECTED: set(),
        events.ANSWER_FAILED: set(),
        events.ANSWER_CANCELLED: set(),
    }
    kn_ts = own.plan.brokers["default", "kn-ts"]
    found = {name: {trigger.name for trigger in kn_ts.matching({"type": name})} for name in road}
    assert found == road
    assert {path.stem for path in (schemas.SCHEMAS / "events").glob("*.json")} == set(road)


def test_every_trigger_of_ours_has_an_explicit_delivery_and_an_asynchronous_broker() -> None:
    documents, _, namespace = read(ROOT / "eventing" / "base")
    assert namespace == "default"
    for _, document in documents:
        if document["kind"] == "Trigger":
            assert set(document["spec"]["delivery"]) >= {"retry", "backoffPolicy", "backoffDelay", "timeout"}
            assert document["spec"]["delivery"]["deadLetterSink"]["ref"]["name"] == "dead-letter"
        if document["kind"] == "Broker":
            assert document["metadata"]["annotations"]["messaging.knative.dev/async-handler"] == "true"


# -- delivery ---------------------------------------------------------------------------------------------------------

SINK = {"uri": "http://dead/"}


@pytest.mark.parametrize(
    ("brokers", "triggers", "expected"),
    [
        (None, None, delivery.DEFAULT),
        ({"retry": 3}, None, Policy(retry=3)),
        ({"retry": 3, "deadLetterSink": SINK}, None, Policy(retry=3, dead_letter="http://dead/")),
        ({"retry": 3, "backoffPolicy": "linear"}, {"retry": 1}, Policy(retry=1)),
        ({"retry": 3, "deadLetterSink": SINK}, {"retry": 1}, Policy(retry=1, dead_letter="http://dead/")),
        ({"retry": 3}, {"deadLetterSink": SINK}, Policy(retry=0, dead_letter="http://dead/")),
        (None, {"retry": 2, "backoffDelay": "PT1M0.5S", "timeout": "PT10S"}, Policy(retry=2, delay=60.5, timeout=10)),
        (None, {"retry": 2, "retryAfterMax": "PT30S"}, Policy(retry=2, retry_after_max=30)),
        (None, {"retry": 2, "retryAfterMax": "PT0S"}, Policy(retry=2)),
    ],
)
def test_a_triggers_delivery_replaces_the_brokers_but_for_the_sink(
    brokers: dict[str, Any] | None, triggers: dict[str, Any] | None, expected: Policy
) -> None:
    head = broker(delivery=brokers) if brokers else broker()
    assert only(head, trigger(delivery=triggers) if triggers else trigger()).policy == expected


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.decimals(0, 59, places=3))
def test_durations(days: int, hours: int, minutes: int, seconds: Any) -> None:
    text = f"P{days}DT{hours}H{minutes}M{seconds}S"
    expected = days * 86400 + hours * 3600 + minutes * 60 + float(seconds)
    assert Field("f", "p", text).duration(0) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "P", "PT", "5s", "PT5", "P1Y", "P1M", "-PT1S", "PT1S ", "PT١S", 5])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ManifestError, match="p: must be"):
        Field("f", "p", text).duration(0)


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscriber", "url"),
    [
        ({"ref": REF}, "http://127.0.0.1/search"),
        ({"uri": "https://example.com/hook"}, "https://example.com/hook"),
        ({"ref": REF, "uri": "/v2"}, "http://127.0.0.1/v2"),
    ],
)
def test_where_a_subscriber_is(subscriber: dict[str, Any], url: str) -> None:
    assert only(broker(), trigger(subscriber=subscriber)).subscriber == url


# -- refusals ---------------------------------------------------------------------------------------------------------


def annotated(document: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], "annotations": {name: value}}}


def nested(depth: int) -> dict[str, Any]:
    return {"not": nested(depth - 1)} if depth else {"exact": {"type": "x"}}


REFUSED: list[tuple[str, Any]] = [
    ("spec.filters[0].cesql: is not supported", trigger(filters=[{"cesql": "type = 'x'"}])),
    ("spec.filters[0].sql: is not supported", trigger(filters=[{"sql": "x"}])),
    ("spec.filters[0].any[1].regex: is not supported", trigger(filters=[{"any": [nested(0), {"regex": "x"}]}])),
    ("spec.filters[0]: must hold exactly one dialect", trigger(filters=[{}])),
    ("must hold exactly one dialect", trigger(filters=[{"exact": {"type": "x"}, "prefix": {"type": "x"}}])),
    ("spec.filters[0].all: must hold at least one", trigger(filters=[{"all": []}])),
    ("spec.filters[0].exact: must name at least one", trigger(filters=[{"exact": {}}])),
    ("spec.filters[0].exact.type: must be a text that is not empty", trigger(filters=[{"exact": {"type": ""}}])),
    ("spec.filters[0].exact.n: must be a text", trigger(filters=[{"exact": {"n": 5}}])),
    ("spec.filters[0].exact.My-Attr: attribute names", trigger(filters=[{"exact": {"My-Attr": "x"}}])),
    ("spec.filters[0].exact.1a: attribute names", trigger(filters=[{"exact": {"1a": "x"}}])),
    ("filter.attributes.ä: attribute names", trigger(filter={"attributes": {"ä": "x"}})),
    ("spec.filter.type: is not supported", trigger(filter={"type": "x"})),
    ("spec.filters: must be a list", trigger(filters={"exact": {"type": "x"}})),
    ("filters may nest 16 deep", trigger(filters=[nested(40)])),
    ("spec.delivery.format: is not supported", trigger(delivery={"format": "json"})),
    ("spec.delivery.retry: must be a whole number", trigger(delivery={"retry": -1})),
    ("spec.delivery.retry: must be a whole number", trigger(delivery={"retry": True})),
    ("spec.delivery.backoffPolicy: 'random' is not", trigger(delivery={"backoffPolicy": "random"})),
    ("spec.delivery.backoffDelay: must be an ISO", trigger(delivery={"backoffDelay": "1s"})),
    ("spec.delivery.deadLetterSink: must have a ref", trigger(delivery={"deadLetterSink": {"uri": "/x"}})),
    ("spec.subscriber: is required", trigger(subscriber=None)),
    ("spec.subscriber.ref.name: the Service 'no'", trigger(subscriber={"ref": {**REF, "name": "no"}})),
    ("spec.subscriber.ref.kind: 'Broker' is not", trigger(subscriber={"ref": {**REF, "kind": "Broker"}})),
    ("spec.subscriber.ref.apiVersion: 'v1' is not", trigger(subscriber={"ref": {**REF, "apiVersion": "v1"}})),
    ("spec.subscriber.CACerts: is not supported", trigger(subscriber={"ref": REF, "CACerts": "x"})),
    ("spec.subscriber: must have a ref, or an absolute", trigger(subscriber={"uri": "ftp://x/"})),
    ("spec.broker: there is no Broker 'other'", trigger(broker="other")),
    ("spec.brokerRef: is not supported", trigger(brokerRef={})),
    ("spec.delivery.queue: is not supported", {**broker(delivery={"queue": 1}), "metadata": {"name": "k"}}),
    ("kind: 'SinkBinding' is not supported", {**trigger(), "kind": "SinkBinding"}),
    ("kind: is required", {"metadata": {}}),
    ("apiVersion: 'eventing.knative.dev/v2' is not", {**trigger(), "apiVersion": "eventing.knative.dev/v2"}),
    (
        "broker.class: 'Kafka' is not",
        annotated({**broker(), "metadata": {"name": "k"}}, manifests.BROKER_CLASS, "Kafka"),
    ),
    ("parallelism: must be a whole number", annotated(trigger(), manifests.PARALLELISM, "0")),
    ("parallelism: must be a text", annotated(trigger(), manifests.PARALLELISM, 5)),
    ("delivery.order: 'sorted' is not supported", annotated(trigger(), manifests.DELIVERY_ORDER, "sorted")),
    ("metadata.name: must be a Kubernetes name", {**trigger(), "metadata": {"name": "T/x"}}),
    ("metadata.name: there are two Brokers 'b'", broker()),
    ("document: must be a mapping", ["a list"]),
]


@pytest.mark.parametrize(("fault", "document"), REFUSED, ids=[fault for fault, _ in REFUSED])
def test_what_the_broker_cannot_do_is_refused_by_file_and_field(fault: str, document: Any) -> None:
    with pytest.raises(ManifestError, match=r"^f\.yaml: .*" + re.escape(fault)):
        planned(broker(), document)


def test_every_faulty_document_is_told() -> None:
    with pytest.raises(ManifestError, match=r"cesql.*format"):
        planned(
            broker(),
            trigger(filters=[{"cesql": "x"}]),
            {**trigger(delivery={"format": "x"}), "metadata": {"name": "u"}},
        )


def test_what_only_describes_is_passed_over() -> None:
    event_type = {"apiVersion": "eventing.knative.dev/v1beta3", "kind": "EventType", "metadata": {"name": "e"}}
    policy = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "EventPolicy", "metadata": {"name": "e"}}
    assert list(planned(broker(), event_type, policy, None).brokers) == [("default", "b")]


# -- files ------------------------------------------------------------------------------------------------------------


def write(folder: Path, **files: Any) -> None:
    for name, documents in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))


def test_a_kustomization_names_the_files_and_the_namespace(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, kustomization=[{"resources": ["a.yaml", "sub"], "namespace": "team"}], a=[broker()], ignored=["x"])
    write(tmp_path / "sub", t=[trigger()])
    loaded = Manifests(tmp_path, SERVICES)
    loaded.load()
    assert list(loaded.plan.triggers()) == ["team/t"]


@pytest.mark.parametrize(
    ("fault", "files"),
    [
        ("kustomization.yaml: patches: is not supported", {"kustomization": [{"patches": []}]}),
        ("there is no such file", {"kustomization": [{"resources": ["gone.yaml"]}]}),
        ("is named twice", {"kustomization": [{"resources": ["a.yaml", "a.yaml"]}], "a": [broker()]}),
    ],
)
def test_a_kustomization_that_asks_for_more_is_refused(tmp_path: Path, fault: str, files: dict[str, Any]) -> None:
    write(tmp_path, **files)
    with pytest.raises(ManifestError, match=fault):
        read(tmp_path)


def test_what_is_no_yaml_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: [\xff")
    with pytest.raises(ManifestError, match=r"a\.yaml: can't be read as YAML"):
        read(tmp_path)


def test_a_change_is_taken_up_and_a_broken_one_leaves_the_plan(tmp_path: Path) -> None:
    write(tmp_path, a=[broker()])
    loaded = Manifests(tmp_path, SERVICES)
    loaded.load()
    assert not loaded.refresh()

    write(tmp_path, a=[broker(), trigger(filters=[{"cesql": "x"}])])
    assert not loaded.refresh()
    assert "cesql" in loaded.fault
    assert list(loaded.plan.triggers()) == []

    write(tmp_path, t=[{**trigger(), "metadata": {"name": "t2"}}])
    write(tmp_path, a=[broker(), trigger()])
    assert loaded.refresh()
    assert loaded.fault == ""
    assert sorted(loaded.plan.triggers()) == ["default/t", "default/t2"]
