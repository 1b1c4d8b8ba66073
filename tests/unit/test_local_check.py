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
    for folder in ("schemas", "eventing", ".github"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("compose.yaml", "func.yaml", "skaffold.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for marker in ROOT.glob("functions/*/__init__.py"):
        (tmp_path / "functions" / marker.parent.name).mkdir(parents=True)
        (tmp_path / "functions" / marker.parent.name / "__init__.py").touch()
    return tmp_path


OUR_OWN = (check.yaml_files, check.event_schemas, check.manifests)
pinned = check.pinned_actions


def faults(root: Path, checks: Checks) -> list[str]:
    return [fault for one in checks for fault in one(root)]


def test_what_is_committed_has_none(copy: Path) -> None:
    assert faults(copy, check.CHECKS) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "said", "checks"),
    [
        (".github/workflows/ci.yaml", "runs-on:", "runs-at:", "runs-at", check.CHECKS[6:7]),
        (".github/workflows/image.yaml", "needs:", "kneads:", "kneads", check.CHECKS[7:8]),
        (".github/workflows/deploy.yaml", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "@v7", [pinned]),
        (".github/workflows/deploy.yaml", " # v7.0.1", "", "actions/checkout", [pinned]),
        ("func.yaml", "name: kn-ts", "name: [kn-ts", "func.yaml", OUR_OWN),
        ("compose.yaml", "image: typesense", "imagine: typesense", "imagine", check.CHECKS[3:4]),
        ("schemas/openapi.yaml", "openapi: 3", "openapi: 9", "openapi-spec-validator", check.CHECKS[4:5]),
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
