"""Shares with their 95 % confidence intervals, as docs/quality-answers.md quotes them. Pure."""

import math
from collections.abc import Iterable

Z = 1.96


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 0 to 1; it also holds near 0 and 1, where most of ours lie."""
    if not tries:
        return 0.0, 1.0
    share = hits / tries
    middle = share + Z * Z / (2 * tries)
    half = Z * math.sqrt(share * (1 - share) / tries + Z * Z / (4 * tries * tries))
    whole = 1 + Z * Z / tries
    low = 0.0 if not hits else (middle - half) / whole
    high = 1.0 if hits == tries else (middle + half) / whole
    return low, high


def share(true: Iterable[bool]) -> str:
    """How many in a hundred, of how many, and between which bounds: `83 % of 150 (76–88)`."""
    every = list(true)
    if not every:
        return "–"
    low, high = wilson(sum(every), len(every))
    return f"{100 * sum(every) / len(every):.1f} % of {len(every)} ({100 * low:.1f}–{100 * high:.1f})"
