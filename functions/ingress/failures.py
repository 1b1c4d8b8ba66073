"""What a failed ask's problem, told by a function behind the Broker, means to the person who waits. Pure."""

from collections.abc import Mapping
from typing import Any

from knts.errors import BadRequest, Busy, DeadlineExceeded, KntsError, Temporary, TooLarge, UpstreamFailed

_BY_STATUS: Mapping[int, type[KntsError]] = {
    400: BadRequest,
    413: TooLarge,
    422: BadRequest,
    429: Busy,
    503: Temporary,
    504: DeadlineExceeded,
}


def told(final: Mapping[str, Any], **extra: Any) -> KntsError:
    """The error to answer with, from a failed final object `{"reason", "problem"?}`."""
    problem = final.get("problem")
    if not isinstance(problem, Mapping):
        problem = {}
    status = problem.get("status")
    kind = _BY_STATUS.get(status, UpstreamFailed) if isinstance(status, int) else UpstreamFailed
    detail = str(final.get("reason") or problem.get("detail") or "the request failed")
    retry_after = 1.0 if kind in (Busy, Temporary) else None
    return kind(detail, errors=_faults(problem.get("errors")), retry_after=retry_after, **extra)


def _faults(listed: Any) -> list[dict[str, str]]:
    if not isinstance(listed, list):
        return []
    return [{str(name): str(text) for name, text in fault.items()} for fault in listed if isinstance(fault, Mapping)]
