"""`make check` sees a planted fault of each kind."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from knts.local import check

ROOT = Path(__file__).parents[2]
Checks = Sequence[Callable[[Path], Iterable[str]]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The checked files, in a folder of their own; each function's folder is there by name."""
    for folder in ("schemas", "eventing", "deploy", ".github"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("compose.yaml", "func.yaml", "skaffold.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for marker in ROOT.glob("functions/*/__init__.py"):
        (tmp_path / "functions" / marker.parent.name).mkdir(parents=True)
        (tmp_path / "functions" / marker.parent.name / "__init__.py").touch()
    return tmp_path


OUR_OWN = (check.yaml_files, check.event_schemas, check.manifests, check.event_types, check.skaffold)
COMPOSE, OPENAPI, PINNED, CI, IMAGE = check.CHECKS[6:11]


def faults(root: Path, checks: Checks) -> list[str]:
    return [fault for one in checks for fault in one(root)]


def test_what_is_committed_has_none(copy: Path) -> None:
    """But for what the overlays are built into, which takes longer: test_manifest_crosschecks builds the largest."""
    assert faults(copy, [one for one in check.CHECKS if one is not check.deployments]) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "said", "checks"),
    [
        (".github/workflows/ci.yaml", "runs-on:", "runs-at:", "runs-at", [CI]),
        (".github/workflows/image.yaml", "needs:", "kneads:", "kneads", [IMAGE]),
        (".github/workflows/deploy.yaml", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "@v7", [PINNED]),
        (".github/workflows/deploy.yaml", " # v7.0.1", "", "actions/checkout", [PINNED]),
        ("func.yaml", "name: search", "name: [search", "func.yaml", OUR_OWN),
        ("compose.yaml", "image: typesense", "imagine: typesense", "imagine", [COMPOSE]),
        ("schemas/openapi.yaml", "openapi: 3", "openapi: 9", "openapi-spec-validator", [OPENAPI]),
        (
            "eventing/base/eventtypes.yaml",
            "name: knts.passages.found.v1",
            "name: knts.passage.found.v1",
            "found.v1",
            OUR_OWN,
        ),
        ("skaffold.yaml", "[deploy/overlays/local]", "[deploy/overlays/lokal]", "deploy/overlays/lokal", OUR_OWN),
        ("skaffold.yaml", "image: dev.local/kn-ts", "image: kn-ts", "has the image kn-ts", OUR_OWN),
        ("eventing/base/triggers.yaml", "broker: kn-ts", "broker: other", "eventing/base", OUR_OWN),
        (
            "schemas/examples/knts.search.requested.v1.json",
            '"query"',
            '"wuery"',
            "knts.search.requested.v1.json",
            OUR_OWN,
        ),
        ("schemas/events/knts.search.requested.v1.json", '"type": "object"', '"type": "objekt"', "objekt", OUR_OWN),
    ],
)
def test_a_planted_fault_is_named(copy: Path, name: str, before: str, after: str, said: str, checks: Checks) -> None:
    text = (copy / name).read_text()
    assert before in text
    (copy / name).write_text(text.replace(before, after, 1))
    assert any(said in fault for fault in faults(copy, checks))


def test_without_kubectl_the_files_are_checked_as_they_stand(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.kustomized, "builder", lambda: None)
    monkeypatch.setattr(check.kustomized, "combinations", lambda root: [("deploy/overlays/production", ())])
    assert faults(copy, [check.deployments]) == []
    typesense = copy / "deploy/base/typesense/server.yaml"
    typesense.write_text(typesense.read_text().replace("name: typesense-nodes", "name: typesense-node"))
    assert faults(copy, [check.deployments]) == [
        "deploy/overlays/production: StatefulSet typesense: there is no ConfigMap typesense-node"
    ]


def test_every_overlay_is_looked_at_alone_and_with_every_component(copy: Path) -> None:
    found = list(check.kustomized.combinations(copy))
    overlays = {f"{folder}/overlays/{name}" for folder in ("eventing", "deploy") for name in ("local", "production")}
    assert {base for base, components in found if not components} == overlays
    components = {path.parent.name for path in copy.glob("*/components/*/kustomization.yaml")}
    assert {one.rsplit("/", 1)[1] for _, some in found for one in some} == components
