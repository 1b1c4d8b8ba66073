"""Whether what an answer stands on is still so: versions that were shown against those that are current now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.llm_answer.ports import Versions


@dataclass(frozen=True)
class Currency:
    """Documents of a list of passages that have another version by now, and those that are gone."""

    changed: frozenset[str]
    removed: frozenset[str]

    @property
    def current(self) -> bool:
        """Whether all of them are as they were."""
        return not self.changed and not self.removed

    def stale(self, citations: Iterable[Mapping[str, Any]]) -> bool:
        """Whether an answer with these citations stands on what has changed; without any it stands on all."""
        cited = {citation["document_id"] for citation in citations}
        return bool(self.changed & cited if cited else self.changed)


async def currency(records: Versions, tenant: str, passages: Sequence[Mapping[str, Any]]) -> Currency:
    """Look the versions of passages up. Raises Temporary when Redis is away."""
    shown = {passage["document_id"]: passage["version"] for passage in passages}
    found = await records.current(tenant, shown)
    removed = frozenset(shown.keys() - found.keys())
    return Currency(frozenset(each for each in found if found[each] != shown[each]), removed)
