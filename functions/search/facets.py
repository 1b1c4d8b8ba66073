"""The values of facets with their counts. Pure; the order is ours, an engine's order of equal counts is its own."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from knts.lookup import Chunk

MOST_VALUES = 100  # of one facet that are told

Facets = Mapping[str, Sequence[tuple[str, int]]]  # by key: values with how many passages have them, frequent ones first


def counted(keys: Iterable[str], chunks: Iterable[Chunk]) -> Facets:
    """The facets of these passages. A key that none has is empty."""
    chunks = list(chunks)
    counts = {key: Counter(value for chunk in chunks for value in set(chunk.values.get(key, ()))) for key in keys}
    return shortened({key: tuple(values.items()) for key, values in counts.items()})


def shortened(facets: Facets) -> Facets:
    """The most frequent values of each, equal ones in alphabetical order."""
    return {
        key: tuple(sorted(values, key=lambda each: (-each[1], each[0]))[:MOST_VALUES]) for key, values in facets.items()
    }


def shown(facets: Facets) -> dict[str, list[dict[str, Any]]]:
    """As the search result holds them."""
    return {key: [{"value": value, "count": count} for value, count in values] for key, values in facets.items()}
