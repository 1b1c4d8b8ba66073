"""The commands of the operators' docs that read or change objects, run in order on the real API server.

Each page's commands as they stand there, against what `kubectl apply -k deploy/overlays/production` has made. What
needs nodes, controllers, other programs or the network is left out by its words.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.knative.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/deployment.md", "docs/operations.md", "deploy/canary/README.md")
NEEDS_NODES = {"exec", "port-forward", "logs", "wait", "rollout", "drain", "run", "cp"}
RUN = {"kubectl", "cat", "mkdir", "openssl", "printf", "sed"}
FETCHES = re.compile(r"https://|\$\(kubectl[^)]*get pod|-n (kafka|ollama|istio-system|kourier-system)\b|NODE|delete -k")
pytestmark = pytest.mark.timeout(600)


def commands(page: str) -> Iterator[str]:
    """The shell commands of a page's fenced `sh` blocks, whole: with quoted lines, continuations and here-documents."""
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        command = ""
        end = ""
        for line in block.splitlines():
            if not command and line.startswith("#"):
                continue
            command = f"{command}\n{line}" if command else line
            if end:
                end = "" if line == end else end
            elif found := re.search(r"<<'(\w+)'", line):
                end = found[1]
            if not end and not line.endswith("\\") and command.count("'") % 2 == 0:
                yield command.strip()
                command = ""
        assert not command, f"a command that does not end: {command}"


def can_run(command: str) -> bool:
    """Whether the command asks nothing but the API server."""
    words = command.split()
    if not words or words[0] not in RUN or FETCHES.search(command) or command.endswith("&"):
        return False
    return not any(f"kubectl {verb}" in command or f" {verb} " in command.split("\n")[0] for verb in NEEDS_NODES)


def test_commands_are_read_whole() -> None:
    page = (
        "text\n```sh\n# it's all\nkubectl get x \\\n  -n y\nkubectl patch z -p '\nspec: 1'   # why\n"
        "kubectl apply -f - <<'END'\na: 1\nEND\n```\n"
    )
    assert list(commands(page)) == [
        "kubectl get x \\\n  -n y",
        "kubectl patch z -p '\nspec: 1'   # why",
        "kubectl apply -f - <<'END'\na: 1\nEND",
    ]


@pytest.fixture(scope="module")
def shell(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `kubectl` is the cluster's, and a copy of the repository to run it in."""
    folder = tmp_path_factory.mktemp("bin")
    wrapper = folder / "kubectl"
    real = shlex.join([str(cluster.programs / "kubectl"), "--kubeconfig", str(cluster.kubeconfig)])
    wrapper.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    # A ConfigMap of knative.dev/networking, which Serving's Go module has as a link and so not at all.
    network = {"name": "config-network", "namespace": "knative-serving"}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": network})
    copy = tmp_path_factory.mktemp("repository")
    for name in ("deploy", "eventing"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / "keys.yaml").write_text("[]\n")
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HERE": str(copy)}


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_the_page_is_taken(shell: dict[str, str], name: str) -> None:
    ran = 0
    if name != PAGES[0]:
        _run(shell, "kubectl apply -k deploy/overlays/production")
    for command in commands((ROOT / name).read_text()):
        if can_run(command):
            _run(shell, command)
            ran += 1
    assert ran >= 3, "the page's commands are not found any more"


def _run(shell: dict[str, str], command: str) -> None:
    done = subprocess.run(
        ["bash", "-ec", command], cwd=shell["HERE"], env=shell, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
