"""Canary and blue-green by `python -m deploy.canary`, on the real API server with Serving's definitions and webhook.

Serving's controller and Prometheus are fakes (`serving.py`): what is seen here is that the traffic which the script
asks for is admitted, that it is what was promised at every moment, and that `kubectl apply` leaves it alone.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.knative.cluster import Cluster
from tests.knative.serving import SERVICES, FakeServingController, Said, ScriptedPrometheus

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "canary"
NUMBERS = itertools.count()
pytestmark = pytest.mark.timeout(300)


class World:
    """A Service of its own for a test, and the command that rolls it out."""

    def __init__(
        self, cluster: Cluster, controller: FakeServingController, prometheus: ScriptedPrometheus, name: str
    ) -> None:
        self.cluster, self.controller, self.prometheus, self.name = cluster, controller, prometheus, name
        self.revisions = 0
        self.old, self.new = f"{name}-00001", f"{name}-00002"

    def apply(self, image: str) -> None:
        """What an operator's `kubectl apply` does, and Serving's controller after it."""
        self.revisions += 1
        self.cluster.apply(
            {
                "apiVersion": "serving.knative.dev/v1",
                "kind": "Service",
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": {"template": {"spec": {"containers": [{"image": f"example.com/{image}"}]}}},
            }
        )
        wanted = f"{self.name}-{self.revisions:05d}"
        self.cluster.wait(wanted, lambda: self.it.get("status", {}).get("latestCreatedRevisionName") == wanted)

    @property
    def it(self) -> dict[str, Any]:
        found = self.cluster.kubectl("get", SERVICES, self.name, "-n", NAMESPACE, "-o", "json").stdout
        service: dict[str, Any] = json.loads(found)
        return service

    @property
    def serving(self) -> dict[str, int]:
        """The percents that the Service asks for, by revision."""
        return {target.get("revisionName", "newest"): target["percent"] for target in self.it["spec"]["traffic"]}

    @property
    def shares(self) -> list[int]:
        """The shares that the tagged revision was given, one after the other."""
        return self.controller.shares[self.name]

    def command(self, do: str, *more: str) -> list[str]:
        kubectl = f"{self.cluster.programs / 'kubectl'} --kubeconfig {self.cluster.kubeconfig}"
        rolls = ("--poll", "0.2", "--prometheus", self.prometheus.url, "--watch", "1") if do == "roll" else ()
        return [
            sys.executable,
            "-m",
            "deploy.canary",
            do,
            self.name,
            "-n",
            NAMESPACE,
            "--kubectl",
            kubectl,
            *rolls,
            *more,
        ]

    def run(self, do: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(do, *more), cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def controller(cluster: Cluster) -> Iterator[FakeServingController]:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with FakeServingController(cluster, NAMESPACE) as running:
        yield running


@pytest.fixture
def world(cluster: Cluster, controller: FakeServingController, request: pytest.FixtureRequest) -> Iterator[World]:
    """A Service whose first revision is pinned, with a second one applied beside it."""
    name = f"search-{next(NUMBERS)}"
    with ScriptedPrometheus() as prometheus:
        world = World(cluster, controller, prometheus, name)
        world.apply("kn-ts:1")
        assert world.run("pin").returncode == 0
        world.apply(getattr(request, "param", "kn-ts:2"))
        assert world.serving == {world.old: 100}, "kubectl apply gave the new revision traffic"
        yield world


def test_a_good_revision_is_promoted_step_by_step(world: World) -> None:
    done = world.run("roll")
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.serving == {world.new: 100}
    assert [int(line.split(" gets ")[1].split()[0]) for line in done.stdout.splitlines() if " gets " in line] == [
        5,
        25,
        50,
    ]
    assert world.shares == [5, 25, 50]
    assert world.run("rollback").returncode == 1
    assert world.serving == {world.old: 100}


@pytest.mark.parametrize(
    ("said", "away", "why"),
    [
        (Said(errors=200), False, "200 of 1000 requests failed"),
        (Said(requests=2, errors=2), False, "2 of 2 requests failed"),
        (Said(p95=3.0), False, "p95 is 3.000 s"),
        (Said(requests=12), False, "12 of 100 requests"),
        (None, False, "0 of 100 requests"),
        (Said(), True, "Prometheus does not answer"),
    ],
    ids=["errors", "errors of few", "slow", "few requests", "no series", "Prometheus away"],
)
def test_a_bad_or_unseen_revision_is_rolled_back(world: World, said: Said | None, away: bool, why: str) -> None:
    world.prometheus.said[world.new] = said
    world.prometheus.away = away
    done = world.run("roll", "--patience", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert why in done.stdout.splitlines()[-1]
    assert world.shares == [5]
    assert world.serving == {world.old: 100}
    again = world.run("roll")
    assert (again.returncode, "was taken back before" in again.stdout) == (1, True)
    assert world.serving == {world.old: 100}


def test_one_that_gets_bad_at_a_larger_share_is_rolled_back_from_there(world: World) -> None:
    with subprocess.Popen(
        world.command("roll", "--watch", "2"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        world.cluster.wait("a quarter", lambda: world.serving.get(world.new) == 25)
        world.prometheus.said[world.new] = Said(errors=500)
        said, _ = running.communicate(timeout=120)
    assert running.returncode == 1, said
    assert world.serving == {world.old: 100}


@pytest.mark.parametrize("world", ["kn-ts:broken"], indirect=True)
def test_one_that_does_not_get_ready_gets_no_traffic(world: World) -> None:
    done = world.run("roll")
    assert (done.returncode, "no such image" in done.stdout) == (1, True)
    assert world.controller.shares[world.name] == []
    assert world.serving == {world.old: 100}


@pytest.mark.parametrize("at", [5, 25, 50])
def test_killed_in_the_middle_it_is_taken_up_where_it_was(world: World, at: int) -> None:
    with subprocess.Popen(world.command("roll", "--watch", "2"), cwd=ROOT, stdout=subprocess.DEVNULL) as running:
        world.cluster.wait(f"{at} %", lambda: world.serving.get(world.new) == at)
        os.kill(running.pid, signal.SIGKILL)
    assert world.serving == {world.old: 100 - at, world.new: at}
    done = world.run("roll")
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.serving == {world.new: 100}
    assert world.shares == [5, 25, 50]


def test_of_two_that_run_at_once_none_undoes_the_others_steps(world: World) -> None:
    both = [
        subprocess.Popen(world.command("roll"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [running.communicate(timeout=120)[0] for running in both]
    codes = sorted(running.returncode for running in both)
    assert codes in ([0, 0], [0, 3]), said
    assert world.shares == [5, 25, 50]
    assert world.serving == {world.new: 100}


def test_blue_green_tests_the_new_revision_at_its_own_address(world: World, tmp_path: Path) -> None:
    seen = tmp_path / "url"
    done = world.run("roll", "--mode", "blue-green", "--test", f'echo "$CANARY_URL" > {seen}; false')
    assert done.returncode == 1, done.stdout + done.stderr
    assert seen.read_text().strip() == f"http://canary-{world.name}.{NAMESPACE}.example.com"
    assert world.serving == {world.old: 100}
    done = world.run("roll", "--mode", "blue-green", "--test", "true", "--again")
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.shares == [0]
    assert world.serving == {world.new: 100}


def test_the_webhook_refuses_traffic_that_is_not_a_hundred(world: World) -> None:
    """That Serving's webhook looks at what the script asks for, and this suite would see what it refuses."""
    wrong = [{"op": "add", "path": "/spec/traffic", "value": [{"revisionName": world.old, "percent": 95}]}]
    done = world.cluster.kubectl(
        "patch", SERVICES, world.name, "-n", NAMESPACE, "--type=json", "-p", json.dumps(wrong), check=False
    )
    assert "Traffic targets sum to 95, want 100" in done.stderr
