"""A circuit breaker: after some failures in a row nobody calls for a while, then one caller tries. Pure."""

from dataclasses import dataclass


@dataclass
class Breaker:
    """One circuit. It opens after `most` failures in a row, for `rest` seconds.

    Then one call is let through; its success closes the circuit, its failure opens it anew. A call that never tells how
    it ended counts as under way for `rest` seconds.
    """

    most: int = 5
    rest: float = 15.0
    failures: int = 0
    closed_until: float = 0.0  # no call before this time, while there are too many failures

    @property
    def open(self) -> bool:
        """Whether calls are held back, but for one now and then."""
        return self.failures >= self.most

    def wait(self, now: float) -> float:
        """0 when a call may be made now, which then must tell how it ends; else the seconds until one may."""
        if not self.open:
            return 0.0
        if now < self.closed_until:
            return self.closed_until - now
        self.closed_until = now + self.rest
        return 0.0

    def succeeded(self) -> None:
        """A call came to its end."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """A call failed in a way that the next one is likely to fail as well."""
        self.failures += 1
        if self.open:
            self.closed_until = now + self.rest
