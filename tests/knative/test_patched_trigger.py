"""What becomes of events while a Trigger is patched, on Knative's real data plane.

docs/operations.md ("Patching a Trigger while events flow") rests on these.
"""

import http.client
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.broker.cases import EVENT
from tests.broker.subscriber import Subscriber, eventually
from tests.knative.cluster import NODE
from tests.knative.plane import DISPATCHER, Plane

NAME = "patched"  # of the namespace, the Broker and the Trigger
OTHER = "stand-in"  # a second Trigger that wants the same
HOLD = "tests.kn-ts.dev/hold"
SUBSCRIPTIONS = "subscriptions.messaging.knative.dev"
CHANNELS = "inmemorychannels.messaging.knative.dev"


class World:
    """A Broker with two Triggers for the same events, and what comes to their subscribers and dead-letter sink."""

    def __init__(self, plane: Plane, to: Subscriber) -> None:
        self.plane = plane
        self.to = to

    def post(self, event_type: str = "wanted") -> str:
        """Publish an event, which is accepted; its id."""
        event_id = secrets.token_hex(8)
        address = urlsplit(self.plane.broker_url(NAME, NAME))
        assert address.hostname
        connection = http.client.HTTPConnection(address.hostname, address.port or 80, timeout=60)
        try:
            connection.request("POST", address.path, b"", {**EVENT, "ce-type": event_type, "ce-id": event_id})
            assert connection.getresponse().status == 202
        finally:
            connection.close()
        return event_id

    def patch(self, resource: str, patch: Any, kind: str = "merge") -> None:
        """What an operator types: `kubectl patch`."""
        self.plane.cluster.kubectl("patch", resource, "-n", NAME, f"--type={kind}", "-p", json.dumps(patch))

    def subscription(self) -> dict[str, Any] | None:
        """The Subscription that Knative made for the Trigger, not the one that is about to go."""
        made = [
            each
            for each in self.plane.told(NAME, SUBSCRIPTIONS)
            if each["metadata"]["ownerReferences"][0]["name"] == NAME
        ]
        return next((each for each in made if "deletionTimestamp" not in each["metadata"]), None)

    def uid(self) -> str:
        found = self.subscription()
        assert found is not None
        return str(found["metadata"]["uid"])

    def subscribers(self) -> set[str]:
        """The Subscriptions that the channel's dispatcher delivers to, by its own word."""
        [channel] = self.plane.told(NAME, CHANNELS)
        return {each["uid"] for each in channel["status"].get("subscribers", ())}

    def status(self) -> Mapping[str, str]:
        """The Trigger's conditions."""
        [trigger] = [each for each in self.plane.told(NAME, "triggers") if each["metadata"]["name"] == NAME]
        return {each["type"]: each["status"] for each in trigger["status"]["conditions"]}

    def got(self, path: str) -> set[str]:
        return {each.id for each in self.to.at(path)}


def trigger(name: str, url: str) -> dict[str, Any]:
    """Events of the type `wanted` go to /name, and what fails there to /dead."""
    sink = {"uri": f"{url}/dead"}
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": NAME},
        "spec": {
            "broker": NAME,
            "subscriber": {"uri": f"{url}/{name}"},
            "filters": [{"exact": {"type": "wanted"}}],
            "delivery": {"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT0.05S", "deadLetterSink": sink},
        },
    }


@pytest.fixture(scope="module")
def world(plane: Plane) -> Iterator[World]:
    to = Subscriber()
    to.start(NODE)
    plane.cluster.name(DISPATCHER, f"{NAME}-kne-trigger-kn-channel.{NAME}.svc.cluster.local")
    asynchronous = {"messaging.knative.dev/async-handler": "true"}
    meta = {"name": NAME, "namespace": NAME, "annotations": asynchronous}
    plane.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}},
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": meta, "spec": {}},
        trigger(NAME, to.url),
        trigger(OTHER, to.url),
    )
    plane.ready(NAME)
    yield World(plane, to)
    to.stop()


def test_a_patch_of_the_filter_leaves_the_subscription_alone(world: World) -> None:
    before = world.uid()
    world.patch(f"trigger/{NAME}", {"spec": {"filters": [{"exact": {"type": "others"}}]}})

    sent: set[str] = set()

    def in_force() -> bool:
        sent.add(world.post("others"))
        return bool(sent & world.got(f"/{NAME}"))

    eventually(in_force, "the new filter passes what it wants")
    world.plane.ready(NAME)
    assert world.uid() == before
    world.patch(f"trigger/{NAME}", {"spec": {"filters": [{"exact": {"type": "wanted"}}]}})
    world.plane.ready(NAME)


def test_a_patch_of_the_delivery_replaces_it_and_events_in_between_go_nowhere(world: World) -> None:
    """The time in between is held open here; as a rule it is some milliseconds."""
    subscription = world.subscription()
    assert subscription is not None
    name, before = subscription["metadata"]["name"], world.uid()
    own = subscription["metadata"]["finalizers"]
    world.patch(f"{SUBSCRIPTIONS}/{name}", {"metadata": {"finalizers": [*own, HOLD]}})
    world.patch(f"trigger/{NAME}", {"spec": {"delivery": {"retry": 2}}})
    eventually(lambda: before not in world.subscribers(), "the channel's dispatcher has dropped the Subscription")
    eventually(lambda: world.status()["Ready"] != "True", "the Trigger says that it is not ready")

    lost = world.post()
    world.to.received(f"/{OTHER}", 1, lost)

    world.patch(f"{SUBSCRIPTIONS}/{name}", {"metadata": {"finalizers": []}})
    eventually(lambda: world.subscription() is not None, "a new Subscription is made")
    world.plane.ready(NAME)
    assert world.uid() != before
    after = world.post()
    world.to.received(f"/{NAME}", 1, after)
    assert lost not in world.got(f"/{NAME}") | world.got("/dead"), "accepted, and neither delivered nor a dead letter"


def test_what_is_taken_out_of_the_delivery_stays_in_force(world: World) -> None:
    before = world.uid()
    world.to.scripts[f"/{NAME}"] = [503]
    world.patch(f"trigger/{NAME}", {"spec": {"delivery": {"deadLetterSink": None}}})
    world.plane.ready(NAME)
    world.to.received("/dead", 1, world.post())
    assert world.uid() == before
