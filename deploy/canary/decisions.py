"""When a new revision gets more traffic and when it is taken back. Pure: what was seen goes in, a verdict comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STEPS = (5, 25, 50, 100)  # percent of the traffic that the new revision gets, one after the other


@dataclass(frozen=True)
class Limits:
    """What a new revision must show on each step."""

    requests: float = 100  # that it, and the old one beside it, must have had
    errors: float = 0.01  # share of its requests that may fail beyond the share that fails at the old one
    slower: float = 1.5  # times the old one's 95th percentile
    slack: float = 0.1  # seconds that its 95th percentile may be longer in any case
    watch: float = 180  # seconds that a step lasts at least
    patience: float = 900  # seconds after which a step without a verdict is one against the new revision


@dataclass(frozen=True)
class Seen:
    """What Prometheus counted of one revision during a step."""

    requests: float = 0
    errors: float = 0
    p95: float | None = None  # seconds; None where nothing was timed

    @property
    def error_rate(self) -> float:
        """The share of its requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Verdict:
    """`step` up, `hold`, or go `back`, and why."""

    move: Literal["step", "hold", "back"]
    why: str


def judge(old: Seen | None, new: Seen | None, elapsed: float, limits: Limits) -> Verdict:
    """The verdict `elapsed` seconds after the step began; None for what could not be asked.

    Errors count as soon as there are more than the least number of requests may have, so a revision that only fails is
    taken back before it has had that many. Everything else waits for enough requests on both sides.
    """
    verdict = _verdict(old, new, elapsed, limits)
    if verdict.move == "hold" and elapsed >= limits.patience:
        return Verdict("back", f"no verdict after {limits.patience:.0f} s: {verdict.why}")
    return verdict


def _verdict(old: Seen | None, new: Seen | None, elapsed: float, limits: Limits) -> Verdict:
    if old is None or new is None:
        return Verdict("hold", "Prometheus does not answer")
    allowed = old.error_rate + limits.errors
    if new.errors > allowed * max(new.requests, limits.requests):
        return Verdict(
            "back",
            f"{new.errors:.0f} of {new.requests:.0f} requests failed, {allowed:.1%} may (old: {old.error_rate:.1%})",
        )
    for name, seen in (("new", new), ("old", old)):
        if seen.requests < limits.requests:
            return Verdict("hold", f"{seen.requests:.0f} of {limits.requests:.0f} requests at the {name} revision")
    if new.p95 is None or old.p95 is None:
        return Verdict("hold", f"no latency of the {'new' if new.p95 is None else 'old'} revision")
    most = max(old.p95 * limits.slower, old.p95 + limits.slack)
    if new.p95 > most:
        return Verdict("back", f"p95 is {new.p95:.3f} s, at most {most:.3f} s may be (old: {old.p95:.3f} s)")
    if elapsed < limits.watch:
        return Verdict("hold", f"{elapsed:.0f} of {limits.watch:.0f} s watched")
    return Verdict("step", f"{new.errors:.0f} of {new.requests:.0f} requests failed, p95 {new.p95:.3f} s")


def next_percent(percent: int, steps: Sequence[int] = STEPS) -> int:
    """The step after `percent`; 100 after the last."""
    return next((step for step in steps if step > percent), 100)
