"""Shares with their 95 % confidence intervals, as docs/quality-answers.md quotes them. Pure."""

import math
from collections.abc import Iterable

Z = 1.96
SELDOM = 0.05


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


def upper(hits: int, tries: int) -> float:
    """Clopper and Pearson's one-sided 95 % upper bound of a share: a greater one would give so few hits in 1 of 20."""
    low, high = hits / tries if tries else 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        few = sum(math.comb(tries, at) * middle**at * (1 - middle) ** (tries - at) for at in range(hits + 1))
        low, high = (middle, high) if few > SELDOM else (low, middle)
    return high


def share(true: Iterable[bool]) -> str:
    """How many in a hundred, of how many, and between which bounds: `83 % of 150 (76–88)`."""
    every = list(true)
    if not every:
        return "–"
    low, high = wilson(sum(every), len(every))
    return f"{100 * sum(every) / len(every):.1f} % of {len(every)} ({100 * low:.1f}–{100 * high:.1f})"
