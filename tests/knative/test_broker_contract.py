"""Knative's multi-tenant broker on its in-memory channel keeps the Broker contract."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.broker import contract
from tests.broker.cases import CESQL
from tests.broker.contract import *  # noqa: F403 - the tests
from tests.broker.contract import NAMESPACE, World
from tests.broker.subscriber import Subscriber
from tests.knative.cluster import NODE
from tests.knative.plane import BROKER_URL, Plane

CAN = frozenset({CESQL})


@pytest.fixture(scope="module")
def world(plane: Plane) -> Iterator[World]:
    to = Subscriber()
    to.start(NODE)
    applied = contract.manifests(to, CAN)

    def edit(name: str, changes: Mapping[str, Any]) -> None:
        """What an operator types: `kubectl patch trigger … --type merge -p …`."""
        patch = json.dumps({"spec": changes})
        plane.cluster.kubectl("patch", "trigger", name, "-n", NAMESPACE, "--type=merge", "-p", patch)

    plane.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *applied)
    plane.ready(NAMESPACE)
    yield World(BROKER_URL, to, CAN, edit)
    to.stop()
