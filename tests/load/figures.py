"""From calls and samples to figures: rates, percentiles, CPU and memory by step, the knee, the recovery, the verdict.

Pure. Latencies are in ms, rates a second, memory in MiB.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.load.calls import ANSWERED, CUT, KINDS, REFUSED, STREAMED, TIMED_OUT, Call, Sample, Step
from tests.load.sampling import LOAD

QUANTILES = (0.5, 0.95, 0.99)
FIRST = "first event of a stream"
ROWS = (*KINDS, FIRST)
WINDOW = 2.0  # seconds over which a recovery is looked at
KEPT = 0.9  # of the calls that users make when they need not wait, and that are answered up to the knee


@dataclass(frozen=True)
class Latency:
    """The percentiles of one kind of call in a step, of those that were answered."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class StepFigures:
    """One step. `cpu_ms` is CPU per answered call, `cores` CPU seconds a second; both by process, as `rss` is."""

    step: Step
    offered: float
    answered: float
    results: Counter[str]
    latency: dict[str, Latency]
    refusal: Latency | None
    cpu_ms: dict[str, float]
    cores: dict[str, float]
    rss: dict[str, float]
    hits: float | None = None

    @property
    def refused(self) -> int:
        """Calls that were told to come later."""
        return sum(self.results[result] for result in REFUSED)

    @property
    def failed(self) -> int:
        """Calls that got another answer, or none."""
        return sum(count for result, count in self.results.items() if is_fault(result))


@dataclass
class Verdict:
    """What a run is judged by: `faults` make it fail, `told` is only said."""

    faults: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], quantile: float) -> float:
    """The smallest value that so many of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def latency(seconds: Sequence[float]) -> Latency | None:
    """Percentiles of what was measured in seconds; None of nothing."""
    if not seconds:
        return None
    return Latency(len(seconds), *(percentile(seconds, quantile) * 1000 for quantile in QUANTILES))


def is_fault(result: str) -> bool:
    """Whether a call may not end so, however high the load is."""
    return result not in ANSWERED and result not in REFUSED and result != CUT


def figures(step: Step, calls: Iterable[Call], samples: Sequence[Sample]) -> StepFigures:
    """Those of one step: of the calls that began in it, and of what the processes used meanwhile."""
    mine = [call for call in calls if step.has(call.began)]
    answered = [call for call in mine if call.result in ANSWERED]
    took = {kind: [call.seconds for call in answered if call.kind == kind] for kind in KINDS}
    took[FIRST] = [call.first for call in mine if call.first is not None]  # however the stream ended
    done = sum(1 for call in calls_ended(calls, step) if call.result in ANSWERED)
    repeated = [call.cache for call in answered if call.cache]
    cores = {name: used / step.seconds for name, used in cpu_used(samples, step).items()}
    return StepFigures(
        step,
        offered=len(mine) / step.seconds,
        answered=done / step.seconds,
        results=Counter(call.result for call in mine),
        latency={kind: found for kind, seconds in took.items() if (found := latency(seconds))},
        refusal=latency([call.seconds for call in mine if call.result in REFUSED]),
        cpu_ms={name: used * step.seconds * 1000 / done for name, used in cores.items()} if done else {},
        cores=cores,
        rss=last_rss(samples, step),
        hits=repeated.count("hit") / len(repeated) if repeated else None,
    )


def calls_ended(calls: Iterable[Call], step: Step) -> Iterable[Call]:
    """The calls that ended in a step, whenever they began."""
    return (call for call in calls if step.has(call.began + call.seconds))


def cpu_used(samples: Sequence[Sample], step: Step) -> dict[str, float]:
    """CPU seconds of each process in a step, between the samples nearest to its ends."""
    used: dict[str, float] = {}
    for name in dict.fromkeys(sample.process for sample in samples):
        mine = [sample for sample in samples if sample.process == name]
        first, last = (min(mine, key=lambda sample: abs(sample.at - at)) for at in (step.began, step.ended))
        used[name] = max(0.0, last.cpu_seconds - first.cpu_seconds)
    return used


def last_rss(samples: Sequence[Sample], step: Step) -> dict[str, float]:
    """The memory of each process at the end of a step."""
    return {sample.process: sample.rss_mib for sample in samples if step.has(sample.at)}


def of_road(by_process: dict[str, float]) -> float:
    """The sum over what is loaded; the load generator is not part of it."""
    return sum(used for name, used in by_process.items() if name != LOAD)


def knee(found: Sequence[StepFigures]) -> StepFigures:
    """The last rising step before the first whose users are not answered at their pace, which the first step shows.

    What is answered in all is no measure: past the knee cheap calls get through where dear ones are refused.
    """
    rising = [one for one in found if not one.step.after]
    pace = rising[0].offered / rising[0].step.users
    kept = [one.answered >= KEPT * pace * one.step.users for one in rising]
    broken = kept.index(False) if False in kept else len(kept)
    return rising[max(0, broken - 1)]


def recovered_after(calls: Iterable[Call], kind: str, first: StepFigures, after: Step) -> float | None:
    """Seconds after the load's end until a kind's median stays within the 95th percentile of the first step.

    None where it did not, or where too little was called to say. What nobody answers does not count as recovered.
    """
    if kind not in first.latency:
        return None
    limit = first.latency[kind].p95 / 1000
    mine = [call for call in calls if call.kind == kind and after.has(call.began) and call.result != CUT]
    windows: list[bool] = []
    for at in range(int(after.seconds / WINDOW)):
        inside = [call for call in mine if at * WINDOW <= call.began - after.began < (at + 1) * WINDOW]
        took = [call.seconds if call.result in ANSWERED else math.inf for call in inside]
        windows.append(not took or statistics.median_low(took) <= limit)
    if not mine or not windows or not windows[-1]:
        return None
    late = [at for at, good in enumerate(windows) if not good]
    return (late[-1] + 1) * WINDOW if late else 0.0


def judged(calls: Sequence[Call], found: Sequence[StepFigures], lost: Iterable[str]) -> Verdict:
    """What a run shows that may not be, whatever the load; speed is told and never judged."""
    verdict = Verdict([f"{name} did not live through the run" for name in lost])
    counts = Counter((call.kind, call.result) for call in calls if is_fault(call.result))
    verdict.faults += [f"{count} × {kind}: {result}" for (kind, result), count in sorted(counts.items())]
    if not any(call.result in ANSWERED for call in calls):
        verdict.faults.append("nothing was answered")
    timed_out = sum(1 for call in calls if call.result == TIMED_OUT)
    late = sum(count for (_, result), count in counts.items() if result.startswith("504"))
    refused = sum(1 for call in calls if call.result in REFUSED)
    cut = sum(1 for call in calls if call.result == CUT)
    verdict.told.append(
        f"{len(calls)} calls: {refused} told to come later (429, 503), {late} ended at their deadline (504), "
        f"{timed_out} without any answer, {cut} under way when the run ended"
    )
    first, last = found[0], found[-1]
    for kind in KINDS:
        if kind in first.latency and kind not in STREAMED:
            seconds = recovered_after(calls, kind, first, last.step)
            said = "not back" if seconds is None else f"back after {seconds:g} s"
            p95 = f"{last.latency[kind].p95:.0f} ms" if kind in last.latency else "nothing answered"
            verdict.told.append(
                f"{kind} after the load: {said} (p95 at first {first.latency[kind].p95:.0f} ms, afterwards {p95})"
            )
    return verdict
