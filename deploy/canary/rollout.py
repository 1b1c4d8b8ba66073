"""The story of a rollout: the new revision gets a share, is watched, gets more, and is promoted or taken back.

Everything that is decided is written into the Service before it is acted on, in one patch, and read again before each
look. So this may be killed at any moment: what it has written stays in force, and who runs it again goes on from there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from deploy.canary import traffic
from deploy.canary.decisions import STEPS, Limits, Seen, Verdict, judge, next_percent
from deploy.canary.kubectl import KubectlFailed
from deploy.canary.prometheus import Away
from deploy.canary.traffic import Patch, Traffic

PROMOTED, TAKEN_BACK, LEFT = 0, 1, 3  # exit codes; 2 is wrong usage


class Cluster(Protocol):
    """Knative's objects: `deploy.canary.kubectl`."""

    def service(self, name: str) -> dict[str, Any] | None: ...

    def revision(self, name: str) -> dict[str, Any] | None: ...

    def patch(self, name: str, patch: Patch) -> None: ...


class Metrics(Protocol):
    """What revisions did: `deploy.canary.prometheus`."""

    def seen(self, revision: str, seconds: float) -> Seen: ...


class Over(Exception):
    """The rollout ended before its first step, which has been said; `code` is the command's exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Left(Exception):
    """The rollout can't go on, and the traffic stays as it is; the message says why."""


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)  # noqa: T201 - a command tells what it does


@dataclass
class Rollout:
    """One Service's rollouts."""

    name: str
    cluster: Cluster
    limits: Limits = field(default_factory=Limits)
    ready_within: float = 600  # seconds until a new revision must be ready
    poll: float = 15  # seconds between two looks
    again: bool = False  # whether a revision that was taken back before is tried once more
    say: Callable[[str], None] = _say

    def pin(self) -> int:
        """Keep all traffic at the revision that serves, so that one that is applied next gets none by itself."""
        service = self.cluster.service(self.name)
        if service is None:
            self.say(f"{self.name} is not there yet: nothing to pin")
            return PROMOTED
        now = traffic.read(service)
        if now.follows and now.old:
            self._patch(service, traffic.pinned(service, now.old))
        self.say(f"{self.name}: all traffic stays at {now.old}" if now.old else f"{self.name} was never ready")
        return PROMOTED

    def canary(self, metrics: Metrics, steps: Sequence[int] = STEPS) -> int:
        """Give the newest revision a share after the other, as long as it shows what the limits want."""
        now = self._begun()
        while True:
            if now.percent:
                verdict = self._watched(now, metrics)
                if verdict is None:  # somebody applied a newer one meanwhile
                    now = self._begun()
                    continue
                if verdict.move == "back":
                    return self._take_back(now, verdict.why)
                self.say(f"{now.new} at {now.percent} %: {verdict.why}")
            if (percent := next_percent(now.percent or 0, steps)) >= 100:
                return self._promote(now)
            now = self._share(now, percent)

    def blue_green(self, test: Callable[[str], bool] | None) -> int:
        """Give the newest revision an address and no traffic, test it there, then give it all."""
        now = self._begun()
        if now.percent != 0:
            now = self._share(now, 0)
        url = self._address(now)
        if test is None:
            self.say(f"{now.new} answers at {url} and has no traffic: `promote` or `rollback` ends this")
            return PROMOTED
        if test(url):
            return self._promote(now)
        return self._take_back(now, f"the test at {url} failed")

    def promote(self) -> int:
        """Give the newest revision all traffic, whatever it shows."""
        return self._promote(self._begun(ask=False))

    def rollback(self) -> int:
        """Take the new revision back, or, where none is under way, go back to the one before the last promotion."""
        service, now = self._read()
        if now.tagged:
            return self._take_back(replace(now, new=now.tagged), "by hand")
        before = traffic.annotation(service, traffic.BEFORE)
        if not before or before == now.old:
            raise Left("no rollout is under way, and no revision from before the last one is known")
        if self.cluster.revision(before) is None:
            raise Left(f"the revision from before, {before}, is not kept any more")
        self._patch(service, traffic.taken_back(service, before, now.old, "by hand"))
        self.say(f"rolled back: {before} has all traffic again, {now.old} none")
        return TAKEN_BACK

    def _read(self) -> tuple[dict[str, Any], Traffic]:
        service = self.cluster.service(self.name)
        if service is None:
            raise Left(f"there is no Knative Service {self.name}")
        return service, traffic.read(service)

    def _patch(self, service: dict[str, Any], patch: Patch) -> None:
        """Patch what was read. Raises Left where somebody else has changed the traffic since."""
        try:
            self.cluster.patch(self.name, patch)
        except KubectlFailed as error:
            there = self.cluster.service(self.name)
            if there is None or there["spec"].get("traffic") != service["spec"].get("traffic"):
                raise Left(f"somebody else changed the traffic of {self.name}; it was left as it is") from error
            raise

    def _begun(self, ask: bool = True) -> Traffic:
        """The rollout of the newest revision, which is ready; its share stays what it is.

        Raises Over where there is nothing to roll out, or it was refused (unless `ask` is false) or does not get ready.
        """
        service = self._settled()
        now = traffic.read(service)
        if now.old and now.follows and now.new != now.old:
            self._patch(service, traffic.pinned(service, now.old))
            return self._begun(ask)
        if now.follows or now.new == now.old:
            self.say(f"{self.name}: {now.old or 'no revision'} is the newest and serves; nothing to roll out")
            raise Over(PROMOTED)
        if ask and not self.again and traffic.annotation(service, traffic.REFUSED) == now.new:
            why = traffic.annotation(service, traffic.WHY)
            self.say(f"{now.new} was taken back before ({why}); --again tries it once more")
            raise Over(TAKEN_BACK)
        if now.tagged and now.tagged != now.new:
            self.say(f"{now.new} has come after {now.tagged}: beginning with it")
            self._patch(service, traffic.shared(service, now.old, now.new, 0))
            return self._begun(ask)
        if failed := self._unready(now):
            raise Over(self._take_back(now, failed))
        return now

    def _settled(self) -> dict[str, Any]:
        """The Service once its controller has seen its newest spec."""
        deadline = time.monotonic() + self.ready_within
        while time.monotonic() < deadline:
            service, _ = self._read()
            if traffic.seen(service):
                return service
            time.sleep(self.poll)
        raise Left(f"Knative has not taken up {self.name} within {self.ready_within:.0f} s")

    def _unready(self, now: Traffic) -> str:
        """Wait until the newest revision is ready; "" then, or why it does not get so."""
        deadline = time.monotonic() + self.ready_within
        while True:
            ready, why = traffic.condition(self.cluster.revision(now.new) or {}, "Ready")
            if ready == "True":
                return ""
            if ready == "False":
                return f"it does not become ready: {why}"
            if time.monotonic() >= deadline:
                return f"it was not ready within {self.ready_within:.0f} s"
            time.sleep(self.poll)

    def _share(self, now: Traffic, percent: int) -> Traffic:
        service = self._unchanged(now)
        self._patch(service, traffic.shared(service, now.old, now.new, percent))
        self.say(f"{now.new} gets {percent} % of the traffic of {self.name}, {now.old} the rest")
        return replace(now, percent=percent, tagged=now.new)

    def _watched(self, now: Traffic, metrics: Metrics) -> Verdict | None:
        """Look at both revisions until there is a verdict to move; None when a newer revision was applied."""
        began, routed, said = time.monotonic(), None, ""
        while True:
            try:
                service = self._unchanged(now)
                if traffic.seen(service) and traffic.read(service).new != now.new:
                    return None
                ready, why = traffic.condition(self.cluster.revision(now.new) or {}, "Ready")
                if routed is None and traffic.routed(service, now.new, now.percent or 0):
                    routed = time.monotonic()
                if ready == "False":
                    return Verdict("back", f"it is not ready any more: {why}")
                verdict = self._judged(now, metrics, began, routed)
            except KubectlFailed as error:
                if time.monotonic() - began >= self.limits.patience:
                    raise
                verdict = Verdict("hold", str(error))
            if verdict.move != "hold":
                return verdict
            if verdict.why != said:
                said = verdict.why
                self.say(f"{now.new} at {now.percent} %: waiting: {said}")
            time.sleep(self.poll)

    def _unchanged(self, now: Traffic) -> dict[str, Any]:
        """The Service, whose traffic is still what this rollout made it. Raises Left otherwise."""
        service, current = self._read()
        if (current.old, current.tagged, current.percent) != (now.old, now.tagged, now.percent):
            raise Left(f"somebody else changed the traffic of {self.name}; it was left as it is")
        return service

    def _judged(self, now: Traffic, metrics: Metrics, began: float, routed: float | None) -> Verdict:
        """The verdict now. The time that Knative takes to route counts for the patience and not for the watch."""
        waited = time.monotonic() - began
        if routed is None:
            late = waited >= self.limits.patience
            return Verdict("back" if late else "hold", "Knative does not route the share yet")
        elapsed = time.monotonic() - routed
        try:
            old, new = metrics.seen(now.old, elapsed), metrics.seen(now.new, elapsed)
        except Away as error:
            verdict = judge(None, None, waited, self.limits)
            return Verdict(verdict.move, f"{verdict.why} ({error})")
        return judge(old, new, elapsed, self.limits)

    def _address(self, now: Traffic) -> str:
        """The tagged revision's URL, once Knative routes to it."""
        deadline = time.monotonic() + self.ready_within
        while time.monotonic() < deadline:
            service, _ = self._read()
            if traffic.routed(service, now.new, 0) and (url := traffic.address(service)):
                return url
            time.sleep(self.poll)
        raise Left(f"Knative gave {now.new} no address within {self.ready_within:.0f} s")

    def _promote(self, now: Traffic) -> int:
        service = self._unchanged(now)
        self._patch(service, traffic.promoted(service, now.old, now.new))
        self.say(f"promoted: {now.new} has all traffic of {self.name}; `rollback` goes back to {now.old}")
        return PROMOTED

    def _take_back(self, now: Traffic, why: str) -> int:
        service = self._unchanged(now)
        self._patch(service, traffic.taken_back(service, now.old, now.new, why))
        self.say(f"rolled back: {now.old} has all traffic of {self.name} again, {now.new} none: {why}")
        return TAKEN_BACK
