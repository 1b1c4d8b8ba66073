"""`python -m knts.local.check`: the part of `make check` that looks at schemas, manifests and other YAML."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from knts.devbroker.fields import ManifestError
from knts.devbroker.loading import Manifests
from knts.local import crosschecks, kustomized
from knts.local.settings import ROOT

COMPOSE = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
OPENAPI = ("openapi-spec-validator", "schemas/openapi.yaml")
WORKFLOWS = tuple(
    ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", f".github/workflows/{name}.yaml")
    for name in ("ci", "image", "deploy")
)
PINNED = re.compile(r"\./|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\Z")  # ours, or a commit and its version
SKIPPED = {".venv", ".knts", ".git", "node_modules"}


def main() -> int:
    """Run every check, print each fault on its line; 1 when there are any."""
    found = [fault for check in CHECKS for fault in check(ROOT)]
    for fault in found:
        print(fault)
    print(f"schemas and manifests: {len(CHECKS)} checks, {len(found)} faults")
    return int(bool(found))


def yaml_files(root: Path) -> Iterator[str]:
    """YAML that does not parse."""
    for path in sorted([*root.rglob("*.yaml"), *root.rglob("*.yml")]):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            try:
                list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
            except yaml.YAMLError as error:
                yield f"{path.relative_to(root)}: {error}"


def event_schemas(root: Path) -> Iterator[str]:
    """Event schemas that are no JSON Schemas, lack their example, or whose example they refuse."""
    for path in sorted((root / "schemas" / "events").glob("*.json")):
        example = root / "schemas" / "examples" / path.name
        try:
            validator = jsonschema_rs.validator_for(json.loads(path.read_text(encoding="utf-8")))
            validator.validate(_data(json.loads(example.read_text(encoding="utf-8"))))
        except (ValueError, OSError, jsonschema_rs.ValidationError) as error:
            yield f"{path.relative_to(root)}: {str(error).splitlines()[0]}"


def _data(example: Any) -> Any:
    return example["data"] if isinstance(example, dict) and "specversion" in example else example


def manifests(root: Path) -> Iterator[str]:
    """Broker and Triggers that the development broker would refuse."""
    services = {
        path.parent.name.replace("_", "-"): "http://127.0.0.1:1" for path in root.glob("functions/*/__init__.py")
    }
    try:
        Manifests(root / "eventing" / "base", services).load()
    except ManifestError as error:
        yield f"eventing/base: {error}"


def pinned_actions(root: Path) -> Iterator[str]:
    """Actions of workflows that are not pinned by a commit, with the version beside it."""
    for path in sorted((root / ".github" / "workflows").glob("*.yaml")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            _, uses, action = line.partition("uses: ")
            if uses and not PINNED.match(action):
                yield f"{path.relative_to(root)}:{number}: {action}: pin it by its commit, with `# v1.2.3` behind it"


def event_types(root: Path) -> Iterator[str]:
    """Types that flow through the Broker and have no EventType, or the other way round."""
    documents = yaml.safe_load_all((root / "eventing" / "base" / "eventtypes.yaml").read_text(encoding="utf-8"))
    described = {document["metadata"]["name"] for document in documents}
    for name in sorted(described ^ {path.stem for path in (root / "schemas" / "events").glob("*.json")}):
        yield f"eventing/base/eventtypes.yaml and schemas/events: only one of them has {name}"


def deployments(root: Path) -> Iterator[str]:
    """Overlays, alone and with components, that can't be built or whose objects don't agree."""
    kubectl = kustomized.builder()
    if kubectl is None:
        print("kubectl is not there: the overlays' files were checked as they stand, without their patches")
    for base, components in kustomized.combinations(root):
        try:
            if kubectl:
                found = crosschecks.faults(kustomized.build(root, base, components, kubectl))
            else:
                found = crosschecks.faults(kustomized.gathered(root, base, components), patched=False)
        except (kustomized.Unbuildable, OSError, yaml.YAMLError) as error:
            found = [str(error)]
        for fault in found:
            yield f"{kustomized.title(base, components)}: {fault}"


def skaffold(root: Path) -> Iterator[str]:
    """Folders that skaffold.yaml names and that are not there; an image that no Service of its overlay has."""
    config = yaml.safe_load((root / "skaffold.yaml").read_text(encoding="utf-8"))
    for profile in (config, *config["profiles"]):
        paths = profile["manifests"]["kustomize"]["paths"]
        for path in paths:
            if not (root / path / "kustomization.yaml").is_file():
                yield f"skaffold.yaml: there is no {path}/kustomization.yaml"
                return
        used = {f"{image['newName']}" for path in paths for image in _images(root / path)}
        for artifact in profile["build"]["artifacts"]:
            if artifact["image"] not in used:
                yield f"skaffold.yaml: no overlay of {paths} has the image {artifact['image']}"


def _images(overlay: Path) -> list[dict[str, str]]:
    listed = yaml.safe_load((overlay / "kustomization.yaml").read_text(encoding="utf-8"))
    return list(listed.get("images", ()))


def by_tool(command: tuple[str, ...]) -> Callable[[Path], Iterator[str]]:
    """A check by an installed tool, which has failed when its status is not 0."""

    def check(root: Path) -> Iterator[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=root, capture_output=True, text=True
        )
        if done.returncode:
            yield f"{' '.join(command)}:\n{done.stdout}{done.stderr}"

    return check


CHECKS: tuple[Callable[[Path], Iterator[str]], ...] = (
    yaml_files,
    event_schemas,
    manifests,
    event_types,
    skaffold,
    deployments,
    by_tool(COMPOSE),
    by_tool(OPENAPI),
    pinned_actions,
    *map(by_tool, WORKFLOWS),
)

if __name__ == "__main__":
    sys.exit(main())
