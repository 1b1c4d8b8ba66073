"""What the instrumentation of Redis may record: nothing in the background, and no flood under one span.

Calls over HTTP are not sampled so: what is dropped here would tell the server called to record nothing either.
"""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

MOST_ALIKE = 24  # spans of one name under one parent: a streamed answer makes a Redis call a token
OMITTED = "knts.omitted_spans"


class WithinWork(Sampler):
    """Drops spans that belong to no work (polls, sweeps, health checks) and what exceeds `MOST_ALIKE` under one parent.

    The parent counts what was left out in its attribute `knts.omitted_spans`. All else is decided by `base`.
    """

    def __init__(self, base: Sampler) -> None:
        self.base = base

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """DROP for background calls and floods, else what the base sampler says."""
        parent = get_current_span(parent_context)
        if not parent.get_span_context().is_valid or (isinstance(parent, Span) and _full(parent, name)):
            return SamplingResult(Decision.DROP)
        return self.base.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """How the sampler calls itself."""
        return f"WithinWork({self.base.get_description()})"


def _full(parent: Span, name: str) -> bool:
    children: dict[str, int] = parent.__dict__.setdefault("_knts_children", {})
    children[name] = children.get(name, 0) + 1
    if children[name] <= MOST_ALIKE:
        return False
    parent.set_attribute(OMITTED, sum(max(0, number - MOST_ALIKE) for number in children.values()))
    return True
