"""How far a mean over some questions can be trusted: the bootstrap, from a fixed seed."""

import random
import statistics
from collections.abc import Sequence

SEED = 20261124
ROUNDS = 2000


def interval(values: Sequence[float], rounds: int = ROUNDS) -> tuple[float, float]:
    """The 95 % interval of the mean: what it comes to when the same number of questions is drawn again and again."""
    draw = random.Random(SEED)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds) - 1]


def with_interval(values: Sequence[float]) -> str:
    """A mean as `0.432 (0.397–0.468)`."""
    low, high = interval(values)
    return f"{statistics.fmean(values):.3f} ({low:.3f}–{high:.3f})"
