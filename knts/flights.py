"""The words of a flight, the one generation that answers a question. No I/O."""

from dataclasses import dataclass

from knts.errors import Temporary

LEADER, FOLLOWER, HELD, FINISHED, ENDED, GONE = "leader", "follower", "held", "finished", "ended", "gone"


class LeaseLost(Temporary):
    """Another leads this flight now, or may: nothing was written. The broker's retry finds out."""


class FlightGone(Temporary):
    """The flight's stream has expired or was purged: nothing was written."""


@dataclass(frozen=True)
class Joined:
    """What an ask is to a flight.

    `role` is one of: LEADER (generate, holding `token`; `streamed` is the digest of the model whose words readers have
    already, or empty), FOLLOWER (somebody else generates), HELD (the same event leads it, in a delivery that still
    holds the lease for `retry_after` seconds), FINISHED (`led` when this ask led it), ENDED (nobody waits), GONE (the
    streams expired).
    """

    role: str
    flight: str = ""
    token: str = ""
    streamed: str = ""
    led: bool = False
    retry_after: float = 0.0
