"""One cluster, one data plane on it and one kn-ts on that, for all tests that need them."""

from collections.abc import Iterator

import pytest

from tests.broker import contract
from tests.knative import road
from tests.knative.cluster import Cluster, start_cluster
from tests.knative.plane import Plane, start_plane
from tests.knative.road import PlaneRoad


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with Knative's and Istio's definitions and Knative's webhooks."""
    started = start_cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def plane(cluster: Cluster) -> Plane:
    """Knative Eventing's data plane, on the cluster."""
    contracts = [(contract.NAMESPACE, contract.slug(name)) for name in contract.BROKERS]
    return start_plane(cluster, [(road.NAMESPACE, road.BROKER), *contracts])


@pytest.fixture(scope="session")
def plane_road(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> PlaneRoad:
    """kn-ts on the data plane; it ends with the cluster."""
    started = PlaneRoad(plane, tmp_path_factory.mktemp("road"))
    started.start()
    return started
