"""Searching for the page: which facets to ask for is learned from what the hits' metadata holds."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from functions.ingress.access import Principal
from functions.ingress.web import hits
from functions.ingress.web.address import MAX_OFFSET, Address
from functions.ingress.web.hits import Results

SAMPLE, PLACES = 20, 5  # hits, and from how many places, that the first search of a scope learns from
MAX_FACETS = 16  # as in schemas/events/knts.search.requested.v1.json


class Searching(Protocol):
    """What is needed of ingress here."""

    async def search(self, who: Principal, query: dict[str, Any]) -> dict[str, Any]: ...


class FacetKeys:
    """The metadata keys seen in hits, by read scope. Lost in a restart, it is learned again by the next search."""

    def __init__(self, scopes: int = 256) -> None:
        self.scopes = scopes
        self.seen: OrderedDict[tuple[str, tuple[str, ...]], dict[str, None]] = OrderedDict()

    def known(self, who: Principal) -> list[str]:
        """The keys known for a principal's scope, the first seen first."""
        return list(self.seen.get((who.tenant, who.groups), ()))

    def learn(self, who: Principal, found: Iterable[Mapping[str, Any]]) -> bool:
        """Take note of the hits' keys; whether one was new."""
        keys = self.seen.setdefault((who.tenant, who.groups), {})
        self.seen.move_to_end((who.tenant, who.groups))
        while len(self.seen) > self.scopes:
            self.seen.popitem(last=False)
        before = len(keys)
        for hit in found:
            for key in hits.metadata(hit):
                if len(keys) < MAX_FACETS and 0 < len(key) <= 128:
                    keys.setdefault(key)
        return len(keys) > before


def request(address: Address, facets: Sequence[str], limit: int = hits.PAGE_SIZE) -> dict[str, Any]:
    """The search that an address asks for."""
    return {
        "query": address.query,
        "limit": limit,
        "offset": address.offset,
        "filters": address.filter_values(),
        "facets": list(facets),
    }


def wanted(address: Address, known: Sequence[str]) -> list[str]:
    """The facets to ask for: those narrowed by, then the known ones."""
    return list(dict.fromkeys([*(key for key, _ in address.filters), *known]))[:MAX_FACETS]


async def find(ingress: Searching, who: Principal, address: Address, keys: FacetKeys) -> Results:
    """The results of an address; without words and filters, what there is. Raises what `Ingress.search` does."""
    if not keys.known(who):
        await _survey(ingress, who, keys)
    body = await ingress.search(who, request(address, wanted(address, keys.known(who))))
    if keys.learn(who, body["hits"]):
        again = await ingress.search(who, request(address.at(0), wanted(address, keys.known(who)), limit=1))
        body = {**body, "facets": again.get("facets")}
    if not address.query and not address.filters:
        return hits.results(address, {**body, "hits": []}, empty=not body["found"])
    return hits.results(address, body, empty=not body["found"] and await _nothing_at_all(ingress, who))


async def _survey(ingress: Searching, who: Principal, keys: FacetKeys) -> None:
    """Learn the first keys of a scope from passages here and there among all of them."""
    first = await ingress.search(who, request(Address(), (), SAMPLE))
    keys.learn(who, first["hits"])
    for part in range(1, PLACES):
        offset = min(first["found"] * part // PLACES, MAX_OFFSET)
        if offset >= SAMPLE:
            keys.learn(who, (await ingress.search(who, request(Address(offset=offset), (), SAMPLE)))["hits"])


async def _nothing_at_all(ingress: Searching, who: Principal) -> bool:
    return not (await ingress.search(who, request(Address(), (), limit=1)))["found"]
