"""Every failure the functions speak of: each class says by its status whether trying again can help.

Subscribers of a Knative Broker only ever answer with a `Permanent` (dead-lettered at once) or a `Temporary` (retried)
failure; the `HttpError` family belongs to the HTTP API of ingress, where a person and not the Broker reads the answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

PROBLEM_TYPE = "application/problem+json"
MAX_PROBLEM_BYTES = 700  # Knative's multi-tenant broker crashes on error bodies of more than 768 bytes


class KntsError(Exception):
    """A failure with an HTTP status, a slug for its problem type and a sentence that names what was wrong.

    `errors` lists the offending fields as `{"field": …, "rule": …}`; `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = [dict(error) for error in errors]
        self.retry_after = retry_after
        self.extra = extra


class Permanent(KntsError):
    """No retry cures it: the event goes to the dead letters at once."""

    status, slug, title = 422, "unprocessable", "The event cannot be processed"


class BadEvent(Permanent):
    """Not a CloudEvent at all: an attribute is missing or breaks the specification."""

    status, slug, title = 400, "bad-event", "Not a valid CloudEvent"


class TooLarge(Permanent):
    """Larger than what is allowed."""

    status, slug, title = 413, "too-large", "Too large"


class Temporary(KntsError):
    """A retry may cure it: a dependency is down, slow or busy."""

    status, slug, title = 503, "unavailable", "Temporarily unavailable"


class IndexUnavailable(Temporary):
    """Typesense is down, slow, full or behind: nothing can be searched, or nothing written, for now."""

    slug, title = "index-unavailable", "The index of documents is unavailable"


class HttpError(KntsError):
    """A failure that only the HTTP API answers with."""


class BadRequest(HttpError):
    """The request breaks a rule that `errors` names."""

    status, slug, title = 400, "bad-request", "Bad request"


class Unauthorized(HttpError):
    """No key, or one that is not known."""

    status, slug, title = 401, "unauthorized", "Unauthorized"


class Forbidden(HttpError):
    """The key may not do this."""

    status, slug, title = 403, "forbidden", "Forbidden"


class NotFound(HttpError):
    """Unknown, or somebody else's."""

    status, slug, title = 404, "not-found", "Not found"


class Gone(HttpError):
    """It was there and has expired."""

    status, slug, title = 410, "gone", "Gone"


class UnsupportedMedia(HttpError):
    """The body's media type is not one that this call takes."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class Busy(HttpError):
    """The queue is full; `retry_after` says when to come back."""

    status, slug, title = 429, "busy", "Too many requests"


class UpstreamFailed(HttpError):
    """A function behind the Broker ended the request with a failure."""

    status, slug, title = 502, "failed", "The request failed"


class DeadlineExceeded(HttpError):
    """Nothing came by the deadline."""

    status, slug, title = 504, "deadline-exceeded", "No answer by the deadline"


def problem(error: KntsError, *, limit: int | None = None, **extra: Any) -> dict[str, Any]:
    """RFC 9457 problem object of an error; with `limit`, shortened until its JSON has at most that many bytes."""
    body: dict[str, Any] = {
        "type": f"urn:knts:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **({"errors": error.errors} if error.errors else {}),
        **error.extra,
        **extra,
    }
    if limit is None:
        return body
    if len(orjson.dumps(body)) > limit and len(body.get("errors", ())) > 1:
        body["errors"] = body["errors"][:1]
    if len(orjson.dumps(body)) > limit:
        body.pop("errors", None)
    for key in [*error.extra, *extra]:
        if len(orjson.dumps(body)) > limit:
            body.pop(key, None)
    while (excess := len(orjson.dumps(body)) - limit) > 0:
        body["detail"] = body["detail"][: max(0, len(body["detail"]) - max(excess // 6, 1) - 1)] + "…"
    return body


def problem_bytes(error: KntsError, *, limit: int | None = MAX_PROBLEM_BYTES, **extra: Any) -> bytes:
    """The same as UTF-8 JSON."""
    return orjson.dumps(problem(error, limit=limit, **extra))


def headers(error: KntsError) -> dict[str, str]:
    """Response headers that go with a problem: its media type, and `Retry-After` in whole seconds where known."""
    named = {"content-type": PROBLEM_TYPE}
    if error.retry_after is not None:
        named["retry-after"] = str(max(1, round(error.retry_after)))
    if isinstance(error, Unauthorized):
        named["www-authenticate"] = 'Bearer realm="kn-ts"'
    return named
