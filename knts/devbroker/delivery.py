"""What follows from one attempt to deliver an event: done, another attempt after a while, or the dead-letter sink.

Knative's rules, values in, values out. Source: Knative `kncloudevents/retries.go` and its data plane, observed.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from knts.events import Event

RETRIED = frozenset({404, 408, 409, 429})  # and every status from 500
HONOUR_RETRY_AFTER = frozenset({429, 503})
LINEAR, EXPONENTIAL = "linear", "exponential"
JITTER = 0.1  # a delay is stretched by up to this part of it, so that what failed together does not return together
LONGEST = 24 * 3600.0
DEAD_LETTER_LONGEST = 60.0
ERROR_BYTES = 768  # of the answer's body, so that `knativeerrordata` keeps to Knative's 1,024 characters
DEFAULT_TTL = 255

TTL = "knativebrokerttl"
ARRIVAL = "knativearrivaltime"
ERROR_DEST, ERROR_CODE, ERROR_DATA = "knativeerrordest", "knativeerrorcode", "knativeerrordata"
ERROR_TRIGGER = "kntserrortrigger"
ERRORS = (ERROR_DEST, ERROR_CODE, ERROR_DATA, ERROR_TRIGGER)


@dataclass(frozen=True)
class Policy:
    """A `delivery` section: retries after the first attempt, and seconds of delay and time-out.

    `retry_after_max` is None where `Retry-After` is not to be honoured; `dead_letter` is the sink's URL.
    """

    retry: int = 10
    backoff: str = EXPONENTIAL
    delay: float = 0.2
    timeout: float = 600.0
    retry_after_max: float | None = None
    dead_letter: str | None = None


DEFAULT = Policy()


@dataclass(frozen=True)
class Attempt:
    """What came of one attempt: the status a gateway would name, why it failed (empty: it did not), and the reply.

    `retriable` marks failures without a usable answer (no connection, time-out, a reply that is no CloudEvent).
    """

    status: int
    fault: str = ""
    body: bytes = b""
    retry_after: float | None = None
    reply: Event | None = None
    retriable: bool = False


@dataclass(frozen=True)
class Done:
    """The subscriber took it."""


@dataclass(frozen=True)
class Retry:
    """Try again after `delay` seconds."""

    delay: float


@dataclass(frozen=True)
class DeadLetter:
    """Give up: to the dead-letter sink, where there is one."""


def decide(policy: Policy, earlier: int, attempt: Attempt, jitter: float) -> Done | Retry | DeadLetter:
    """What follows from `attempt`, which came after `earlier` failed ones; `jitter` is between 0 and 1."""
    if not attempt.fault:
        return Done()
    if earlier >= policy.retry or not (attempt.retriable or attempt.status >= 500 or attempt.status in RETRIED):
        return DeadLetter()
    return Retry(max(backoff(policy, earlier, jitter), _asked(policy, attempt)))


def decide_dead_letter(policy: Policy, earlier: int, attempt: Attempt, jitter: float) -> Done | Retry:
    """The same for a delivery to the dead-letter sink: there is nowhere else to put it, so it is tried for ever."""
    if not attempt.fault:
        return Done()
    patient = replace(policy, delay=policy.delay or DEFAULT.delay, backoff=EXPONENTIAL)
    return Retry(min(backoff(patient, earlier, jitter), DEAD_LETTER_LONGEST))


def backoff(policy: Policy, earlier: int, jitter: float) -> float:
    """Seconds before the next attempt after `earlier` failures and this one; linear begins at once, as Knative's."""
    factor = float(earlier) if policy.backoff == LINEAR else 2.0 ** min(earlier, 40)
    return min(policy.delay * factor, LONGEST) * (1 + JITTER * jitter)


def remaining(policy: Policy, attempts: int, due: float, now: float) -> float:
    """Seconds until a noted retry is due (`due` and `now` in epoch seconds): never more than its delay could be.

    So a clock that was set back does not hold an event for hours.
    """
    longest = max(backoff(policy, max(attempts - 1, 0), 1.0), policy.retry_after_max or 0.0)
    return min(max(due - now, 0.0), longest)


def _asked(policy: Policy, attempt: Attempt) -> float:
    if policy.retry_after_max is None or attempt.retry_after is None or attempt.status not in HONOUR_RETRY_AFTER:
        return 0.0
    return min(attempt.retry_after, policy.retry_after_max)


def retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms; None where it says nothing usable."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds())


# -- attributes that the broker sets -----------------------------------------------------------------------------------


def arrived(event: Event, at: str) -> Event | None:
    """The event as it is queued: with its arrival time and time to live; None when it has none left."""
    left = _ttl(event.attributes.get(TTL))
    return None if left <= 0 else Event({**event.attributes, TTL: str(left), ARRIVAL: at}, event.data)


def reply_arrived(reply: Event, cause: Event, at: str) -> Event | None:
    """A reply as it is queued: it has what its cause had left but one, so that a loop ends."""
    return arrived(Event({**reply.attributes, TTL: cause.attributes.get(TTL, str(DEFAULT_TTL))}, reply.data), at)


def outgoing(event: Event) -> Event:
    """The event as a subscriber sees it: without its time to live."""
    return Event({name: value for name, value in event.attributes.items() if name != TTL}, event.data)


def dead(event: Event, attempt: Attempt, destination: str, trigger: str) -> Event:
    """The event as the dead-letter sink sees it: what failed, where, and the first bytes of the answer in Base64."""
    told = attempt.body or attempt.fault.encode()
    extensions = {
        ERROR_DEST: destination,
        ERROR_CODE: str(attempt.status),
        ERROR_DATA: base64.b64encode(told[:ERROR_BYTES]).decode("ascii"),
        ERROR_TRIGGER: trigger,
    }
    return Event({**event.attributes, **extensions}, event.data)


def revived(event: Event) -> Event:
    """A dead letter as it was before it died."""
    return Event({name: value for name, value in event.attributes.items() if name not in ERRORS}, event.data)


def _ttl(text: str | None) -> int:
    digits = (text or "").removeprefix("-")
    if not text or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return DEFAULT_TTL  # absent or unreadable
    return int(text) - 1


def summary(attributes: Mapping[str, str]) -> dict[str, str]:
    """The few attributes that name an event in a log line."""
    return {f"event_{name}": attributes[name] for name in ("id", "type", "source") if name in attributes}
