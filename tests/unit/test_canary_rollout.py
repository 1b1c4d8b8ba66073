"""Rollouts against a Service in memory: what it says of itself, and what becomes of its traffic."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploy.canary import traffic
from deploy.canary.decisions import Limits, Seen
from deploy.canary.kubectl import KubectlFailed
from deploy.canary.prometheus import EVENTS, PEOPLE, Away
from deploy.canary.rollout import PROMOTED, TAKEN_BACK, Left, Over, Rollout

GOOD = Seen(1000, 0, 0.1)
BAD = Seen(1000, 500, 0.1)


class ServiceInMemory:
    """One Knative Service, whose controller does at once what it is told."""

    def __init__(self) -> None:
        self.ready = {"search-00001": "True"}
        self.on_read: Callable[[], None] = lambda: None
        self.shares: list[int] = []  # of the tagged revision, as they were asked for
        self.it: dict[str, Any] = {
            "metadata": {"generation": 1},
            "spec": {"traffic": [{"latestRevision": True, "percent": 100}]},
            "status": {},
        }
        self._reconcile()

    def apply_newer(self, ready: str = "True") -> str:
        """What `kubectl apply` of another template does."""
        name = f"search-0000{len(self.ready) + 1}"
        self.ready[name] = ready
        self._reconcile()
        return name

    def _reconcile(self) -> None:
        newest, ready = list(self.ready)[-1], [name for name, state in self.ready.items() if state == "True"][-1]
        targets = [
            {**one, "revisionName": one.get("revisionName", ready), "url": f"http://{one.get('tag', '')}-search"}
            for one in self.it["spec"]["traffic"]
        ]
        self.it["metadata"]["generation"] += 1
        self.it["status"] = {
            "observedGeneration": self.it["metadata"]["generation"],
            "latestCreatedRevisionName": newest,
            "latestReadyRevisionName": ready,
            "traffic": targets,
            "conditions": [{"type": "RoutesReady", "status": "True"}],
        }

    def service(self, name: str) -> dict[str, Any] | None:
        self.on_read()
        return copy.deepcopy(self.it) if name == "search" else None

    def revision(self, name: str) -> dict[str, Any] | None:
        if name not in self.ready:
            return None
        return {"status": {"conditions": [{"type": "Ready", "status": self.ready[name], "message": "no such image"}]}}

    def patch(self, name: str, patch: traffic.Patch) -> None:
        changed = copy.deepcopy(self.it)
        for step in patch:
            *way, last = [part.replace("~1", "/") for part in step["path"].split("/")[1:]]
            at = changed
            for part in way:
                at = at[part]
            if step["op"] == "test" and at.get(last) != step["value"]:
                raise KubectlFailed("the test does not hold")
            if step["op"] == "add":
                at[last] = step["value"]
            if step["op"] == "remove":
                del at[last]
        self.it = changed
        self.shares += [one["percent"] for one in self.it["spec"]["traffic"] if one.get("tag") == traffic.TAG]
        self._reconcile()

    @property
    def serving(self) -> dict[str, int]:
        """The percents by revision, as asked for."""
        return {one.get("revisionName", "newest"): one["percent"] for one in self.it["spec"]["traffic"]}


class ScriptedMetrics:
    """Says of each revision what the test wants."""

    def __init__(self, **said: Seen | Exception) -> None:
        self.said = {name.replace("_", "-"): seen for name, seen in said.items()}

    def seen(self, revision: str, seconds: float) -> Seen:
        seen = self.said.get(revision, GOOD)
        if isinstance(seen, Exception):
            raise seen
        return seen


@pytest.fixture
def search() -> ServiceInMemory:
    """A Service whose first revision is pinned."""
    service = ServiceInMemory()
    rollout(service).pin()
    return service


def rollout(
    service: ServiceInMemory, *, patience: float = 30, ready_within: float = 30, again: bool = False
) -> Rollout:
    limits = Limits(watch=0.01, patience=patience)
    return Rollout("search", service, limits, ready_within=ready_within, poll=0.001, again=again, say=lambda _: None)


def ended(service: ServiceInMemory, metrics: ScriptedMetrics | None = None, **more: Any) -> int:
    try:
        return rollout(service, **more).canary(metrics or ScriptedMetrics())
    except Over as over:
        return over.code


def test_what_is_applied_to_a_pinned_service_gets_no_traffic(search: ServiceInMemory) -> None:
    search.apply_newer()
    assert search.serving == {"search-00001": 100}


def test_a_good_revision_gets_5_25_50_and_then_all(search: ServiceInMemory) -> None:
    search.apply_newer()
    assert ended(search) == PROMOTED
    assert search.shares == [5, 25, 50]
    assert search.serving == {"search-00002": 100}


@pytest.mark.parametrize(
    "seen",
    [BAD, Seen(1000, 0, 9.0), Seen(3, 0, 0.1), Away("connection refused")],
    ids=["errors", "slow", "few", "away"],
)
def test_a_bad_one_and_one_of_which_nothing_is_known_are_taken_back(
    search: ServiceInMemory, seen: Seen | Exception
) -> None:
    search.apply_newer()
    assert ended(search, ScriptedMetrics(search_00002=seen), patience=0.05) == TAKEN_BACK
    assert search.shares == [5]
    assert search.serving == {"search-00001": 100}


def test_one_that_was_taken_back_is_not_tried_again_by_itself(search: ServiceInMemory) -> None:
    search.apply_newer()
    ended(search, ScriptedMetrics(search_00002=BAD))
    assert ended(search) == TAKEN_BACK
    assert search.serving == {"search-00001": 100}
    assert ended(search, again=True) == PROMOTED
    assert search.serving == {"search-00002": 100}


def test_its_successor_is(search: ServiceInMemory) -> None:
    search.apply_newer()
    ended(search, ScriptedMetrics(search_00002=BAD))
    search.apply_newer()
    assert ended(search) == PROMOTED
    assert search.serving == {"search-00003": 100}


def test_nothing_new_is_nothing_to_do(search: ServiceInMemory) -> None:
    assert ended(search) == PROMOTED
    assert search.serving == {"search-00001": 100}


@pytest.mark.parametrize("state", ["False", "Unknown"])
def test_one_that_does_not_get_ready_gets_no_traffic(search: ServiceInMemory, state: str) -> None:
    search.apply_newer(ready=state)
    assert ended(search, ready_within=0.05) == TAKEN_BACK
    assert search.shares == []
    assert search.serving == {"search-00001": 100}


def test_a_service_that_follows_its_newest_is_pinned_before_that_is_ready() -> None:
    service = ServiceInMemory()
    service.apply_newer(ready="Unknown")
    assert service.serving == {"newest": 100}
    assert ended(service, ready_within=0.05) == TAKEN_BACK  # it never got ready
    assert service.serving == {"search-00001": 100}


@pytest.mark.parametrize("reads", range(1, 40))
def test_killed_at_any_moment_it_is_taken_up_by_the_next_run(search: ServiceInMemory, reads: int) -> None:
    search.apply_newer()

    class Killed(BaseException):
        pass

    def count() -> None:
        nonlocal reads
        reads -= 1
        if reads == 0:
            raise Killed

    search.on_read = count
    with contextlib.suppress(Killed):  # or it is done before
        ended(search)
    search.on_read = lambda: None
    assert sum(search.serving.values()) == 100
    assert ended(search) == PROMOTED
    assert search.serving == {"search-00002": 100}
    assert search.shares == [5, 25, 50]  # no step twice, none left out


def test_a_newer_one_that_is_applied_meanwhile_begins_at_the_first_step(search: ServiceInMemory) -> None:
    search.apply_newer()
    reads = 0

    def apply_amid() -> None:
        nonlocal reads
        reads += 1
        if search.shares == [5, 25] and len(search.ready) == 2:
            search.apply_newer()

    search.on_read = apply_amid
    assert ended(search) == PROMOTED
    assert search.shares == [5, 25, 0, 5, 25, 50]
    assert search.serving == {"search-00003": 100}


def test_traffic_that_somebody_else_changes_is_left_to_him(search: ServiceInMemory) -> None:
    search.apply_newer()

    def meddle() -> None:
        if search.shares == [5]:
            search.it["spec"]["traffic"] = [{"revisionName": "search-00001", "percent": 100}]

    search.on_read = meddle
    with pytest.raises(Left, match="somebody else"):
        ended(search)
    assert search.serving == {"search-00001": 100}


def test_traffic_that_is_shared_in_another_way_is_not_touched(search: ServiceInMemory) -> None:
    search.apply_newer()
    shared = [{"revisionName": name, "percent": 50} for name in ("search-00001", "search-00002")]
    search.it["spec"]["traffic"] = shared
    with pytest.raises(traffic.Unclear, match="2 revisions"):
        ended(search)
    assert search.it["spec"]["traffic"] == shared


def test_a_tag_of_somebody_elses_stays(search: ServiceInMemory) -> None:
    mine = {"revisionName": "search-00001", "percent": 0, "tag": "look"}
    search.it["spec"]["traffic"].append(mine)
    search.apply_newer()
    assert ended(search) == PROMOTED
    assert mine in search.it["spec"]["traffic"]


def test_blue_green_gives_an_address_first_and_everything_after_the_test(search: ServiceInMemory) -> None:
    search.apply_newer()
    tested: list[str] = []

    def passes(url: str) -> bool:
        tested.append(url)
        assert search.serving == {"search-00001": 100, "search-00002": 0}
        return True

    assert rollout(search).blue_green(passes) == PROMOTED
    assert tested == ["http://canary-search"]
    assert search.serving == {"search-00002": 100}


def test_blue_green_whose_test_fails_changes_nothing(search: ServiceInMemory) -> None:
    search.apply_newer()
    assert rollout(search).blue_green(lambda _: False) == TAKEN_BACK
    assert search.serving == {"search-00001": 100}


def test_blue_green_without_a_test_waits_for_a_person(search: ServiceInMemory) -> None:
    search.apply_newer()
    assert rollout(search).blue_green(None) == PROMOTED
    assert search.serving == {"search-00001": 100, "search-00002": 0}
    assert rollout(search).promote() == PROMOTED
    assert search.serving == {"search-00002": 100}


def test_a_rollback_takes_back_what_is_under_way_or_the_last_promotion(search: ServiceInMemory) -> None:
    search.apply_newer()
    rollout(search).blue_green(None)
    assert rollout(search).rollback() == TAKEN_BACK
    assert search.serving == {"search-00001": 100}
    assert ended(search, again=True) == PROMOTED
    assert rollout(search).rollback() == TAKEN_BACK
    assert search.serving == {"search-00001": 100}
    with pytest.raises(Left, match="no rollout is under way"):
        rollout(search).rollback()


def test_a_rollback_refuses_the_revision_that_had_the_tag_and_not_a_newer_one(search: ServiceInMemory) -> None:
    search.apply_newer()
    rollout(search).blue_green(None)
    search.apply_newer()
    assert rollout(search).rollback() == TAKEN_BACK
    assert ended(search) == PROMOTED
    assert search.serving == {"search-00003": 100}


def test_an_api_server_that_does_not_answer_for_a_while_is_waited_for(search: ServiceInMemory) -> None:
    search.apply_newer()
    failures = 3

    def fail() -> None:
        nonlocal failures
        if search.shares == [5] and failures:
            failures -= 1
            raise KubectlFailed("connection refused")

    search.on_read = fail
    assert ended(search) == PROMOTED
    assert failures == 0


@pytest.mark.parametrize("queries", [EVENTS, PEOPLE])
def test_every_query_names_the_revision_and_the_time_in_each_of_its_series(queries: Any) -> None:
    for query in (queries.requests, queries.errors, queries.p95):
        asked = query.format(of='revision="search-00002"', range="60s")
        series = asked.count("_count{") + asked.count("_bucket{") + asked.count("_total{")
        assert series == asked.count('{revision="search-00002"') == asked.count("[60s]") > 0
