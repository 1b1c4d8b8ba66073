"""What a load run has seen: calls, steps and samples, as the runs write them down and the figures read them. Pure."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SEARCH, REPEATED, FRESH, LISTEN, DOCUMENT = "search", "repeated question", "fresh question", "listener", "document"
KINDS = (SEARCH, REPEATED, DOCUMENT, FRESH, LISTEN)
STREAMED = (FRESH, LISTEN)  # these are followed to the last event of the answer

ANSWERED = frozenset({"200", "202"})
REFUSED = frozenset({"429", "503"})  # with Retry-After
TIMED_OUT = "no answer in time"
CUT = "cut by the end of the run"  # by the load itself, which says nothing about what was called


@dataclass(frozen=True)
class Call:
    """One call. Times are of the machine's monotonic clock, in seconds; `first` is until a stream's first event."""

    kind: str
    began: float
    seconds: float
    result: str
    first: float | None = None
    cache: str = ""


@dataclass(frozen=True)
class Step:
    """A stretch of one load; `after` marks the light one after the heaviest."""

    number: int
    users: int
    began: float
    ended: float
    after: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def has(self, at: float) -> bool:
        """Whether a moment lies in it."""
        return self.began <= at < self.ended


@dataclass(frozen=True)
class Sample:
    """What one process has used at a moment: CPU since its start, memory and file descriptors now."""

    at: float
    process: str
    cpu_seconds: float
    rss_mib: float
    descriptors: int = 0


def result_of(status: int, *, retry_after: bool) -> str:
    """An HTTP answer's name among the results; 429 and 503 are what they should be only with Retry-After."""
    if status in (429, 503) and not retry_after:
        return f"{status} without Retry-After"
    return str(status)


def result_of_stream(last: str, final: dict[str, Any]) -> str:
    """A stream's, by its last event: an answer or an abstention is 200, a failure is the status of its problem."""
    if last in ("completed", "abstained"):
        return "200"
    if last == "failed":
        status = (final.get("problem") or {}).get("status", "unknown")
        return f"{status} in the stream"
    return f"{last} in the stream" if last else "stream broke off"


def written(one: Call | Step | Sample) -> str:
    """A line of the record."""
    return json.dumps({type(one).__name__: asdict(one)})


def read(lines: Iterable[str]) -> tuple[list[Call], list[Step], list[Sample]]:
    """The record of a run."""
    calls: list[Call] = []
    steps: list[Step] = []
    samples: list[Sample] = []
    for line in lines:
        ((kind, found),) = json.loads(line).items()
        match kind:
            case "Call":
                calls.append(Call(**found))
            case "Step":
                steps.append(Step(**found))
            case "Sample":
                samples.append(Sample(**found))
    return calls, steps, samples
