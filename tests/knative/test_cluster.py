"""The API server itself: it admits what a cluster would admit, and refuses with the same words."""

import json

import pytest

from tests.knative.cluster import PROBES, Cluster, Refused


def test_our_broker_and_triggers_are_admitted(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-k", "eventing/base")


@pytest.mark.parametrize(("bad", "said"), [(bad, said) for _, bad, said in PROBES])
def test_a_wrong_manifest_is_refused_with_the_webhooks_words(cluster: Cluster, bad: object, said: str) -> None:
    with pytest.raises(Refused) as refused:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(bad))
    assert said in str(refused.value)


def test_what_istio_defines_is_known(cluster: Cluster) -> None:
    kinds = cluster.kubectl("api-resources", "--api-group=security.istio.io", "-o", "name").stdout
    assert "authorizationpolicies.security.istio.io" in kinds
