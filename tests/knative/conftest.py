"""One cluster for all tests that need one."""

from collections.abc import Iterator

import pytest

from tests.knative.cluster import Cluster, start_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with Knative's and Istio's definitions and Knative's webhooks."""
    started = start_cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()
