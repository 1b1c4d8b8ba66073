"""No answer cites what was replaced before its question, in whatever order the steps of all come; a few of the
interleavings of which `python -m bench.interleavings` runs ten thousand.
"""

import pytest

from bench.interleavings import AT_ONCE, PLANTS, interleave


async def test_every_answer_is_of_its_time(redis_url: str, redis_cache_url: str) -> None:
    told, wrong = await interleave(redis_url, redis_cache_url, range(100_001, 100_061))
    assert wrong == []
    assert all(told[how] for how in ("written", "stale", "hit", "reworded"))


@pytest.mark.parametrize("plant", PLANTS)
async def test_a_part_that_is_broken_is_noticed(plant: str, redis_url: str, redis_cache_url: str) -> None:
    wrong: list[str] = []
    for first in range(1, 2000, AT_ONCE):
        if wrong:
            break
        _, wrong = await interleave(redis_url, redis_cache_url, range(first, first + AT_ONCE), plant)
    assert wrong
