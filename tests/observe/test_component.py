"""The component as kustomize builds it: its parts fit each other and what a restricted namespace allows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observe.prometheus import COMPONENT

SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kn-ts\ndata:\n  LOG_LEVEL: INFO\n"
OVERLAY = "resources: [settings.yaml]\ncomponents: [observability]\nnamespace: kn-ts\n"


def kustomized(folder: Path) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod templates by their workload's name."""
    workloads = [each for each in manifests if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet")]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in workloads}


@pytest.fixture
def overlay(tmp_path: Path) -> list[dict[str, Any]]:
    """An overlay with the functions' settings and the component."""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    (tmp_path / "kustomization.yaml").write_text(OVERLAY)
    shutil.copytree(COMPONENT, tmp_path / "observability")
    return kustomized(tmp_path)


def test_functions_are_told_where_to_push_and_keep_their_other_settings(overlay: list[dict[str, Any]]) -> None:
    [settings] = [each["data"] for each in overlay if each["metadata"]["name"] == "kn-ts"]
    assert settings == {"LOG_LEVEL": "INFO", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4318"}


def test_it_builds_alone_and_adds_only_its_own() -> None:
    assert sorted(pods(kustomized(COMPONENT))) == ["grafana", "loki", "otel-collector", "prometheus", "tempo"]


def test_each_pod_may_run_in_a_restricted_namespace(overlay: list[dict[str, Any]]) -> None:
    for name, pod in pods(overlay).items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert all("hostPath" not in volume for volume in pod["spec"]["volumes"]), name


def test_each_service_leads_to_a_port_of_a_pod(overlay: list[dict[str, Any]]) -> None:
    services = [each for each in overlay if each["kind"] == "Service"]
    assert len(services) == 5
    for service in services:
        pod = pods(overlay)[service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        open_ports = {port["containerPort"] for each in pod["spec"]["containers"] for port in each["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} <= open_ports


def test_each_volume_has_the_files_that_are_read_from_it(overlay: list[dict[str, Any]]) -> None:
    files = {each["metadata"]["name"]: set(each["data"]) for each in overlay if each["kind"] == "ConfigMap"}
    for name, pod in pods(overlay).items():
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                assert files[volume["configMap"]["name"]], name
    [dashboards] = [names for name, names in files.items() if name.startswith("grafana-dashboards")]
    assert dashboards == {path.name for path in (COMPONENT / "grafana/dashboards").glob("*.json")}


@pytest.mark.parametrize("path", ["collector/collector.yaml", "logs/collector.yaml"])
def test_a_collectors_pipelines_are_made_of_what_it_declares(path: str) -> None:
    config = yaml.safe_load((COMPONENT / path).read_text())
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {part for pipeline in pipelines for part in pipeline[kind]} == set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_the_log_agents_stand_in_a_namespace_of_their_own() -> None:
    manifests = kustomized(COMPONENT / "logs")
    assert {each["metadata"].get("namespace", "kn-ts-logs") for each in manifests} == {"kn-ts-logs"}
    [agent] = pods(manifests).values()
    assert all(
        mount.get("readOnly") for mount in agent["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "pods"
    )
