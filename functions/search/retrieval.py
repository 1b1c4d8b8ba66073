"""The story of finding passages: look up, mend the spelling, look up again, fetch the most promising ones, rank them.

Everything goes through the scope. Passages whose meaning is near are asked for beside those that hold words.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from functions.search.facets import Facets, counted, shortened
from functions.search.fusion import Embedded, Nearness, fused, liked
from functions.search.query import Query, Term
from functions.search.ranking import Ranked, Ranking, most_promising, rank, weights_of
from functions.search.spelling import ROUNDS, SAMPLE, alike, one_edit, taken, two_edits
from knts.lookup import Chunk, Found, Lookup, Scope

T = TypeVar("T")
Near = asyncio.Task[Nearness | None]

WINDOW = 150  # passages that are ranked together; later pages of a plain query are ranked window by window
LISTED = 600  # passages whose ids are read for a loose query: what takes time is Typesense loading each of them
FEWER = 400  # for a plain query, which is typed letter by letter: its words together are listed besides
BESIDE_NEAR = 150  # where passages that are near are known besides
WINDOW_BESIDE_NEAR = 80  # passages chosen by their words then, beside those that are near
LONGEST = 200  # ids that are read for one term
MOST_MISSPELT = 6  # words of a query whose spelling is mended
ENOUGH = 50  # passages that hold all of a plain query: with fewer, those that hold a part of it follow them
SLACK = 20  # passages beyond the page that are checked at once, in case some are no longer current


class Lookups(Protocol):
    """The passages, as `knts.clients.typesense_search.ChunkSearch` looks them up."""

    async def look_up(self, scope: Scope, lookups: Sequence[Lookup]) -> list[Found]: ...

    async def texts(self, scope: Scope, lookups: Sequence[Lookup]) -> list[list[str]]: ...

    async def chunks(self, scope: Scope, ids: Sequence[str]) -> list[Chunk]: ...


class Index(Lookups, Protocol):
    """The passages by their words and by what they mean."""

    async def near(self, scope: Scope, text: str) -> Nearness | None: ...

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]: ...


class Versions(Protocol):
    """Which version of each document may be shown, as `knts.clients.records.Records` knows it."""

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]: ...


@dataclass(frozen=True)
class Wanted:
    """The part of the result that is asked for, and the facets to count."""

    offset: int = 0
    limit: int = 10
    facets: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        return self.offset + self.limit

    @property
    def windows(self) -> range:
        """The numbers, from 1, of the windows that hold the page."""
        return range(self.offset // WINDOW + 1, (self.end - 1) // WINDOW + 2)


@dataclass(frozen=True)
class Page:
    """Ranked passages, the first of them the one after `before` others, out of `found`; and what the query became."""

    query: Query
    found: int = 0
    before: int = 0
    hits: Sequence[Ranked] = ()
    facets: Facets = field(default_factory=dict)
    spelling: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[Term, float] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What a look at the index showed: how rare each term is, and what each lookup found."""

    query: Query
    weights: Mapping[Term, float]
    found: Mapping[Lookup, Found]

    def of(self, term: Term) -> Found:
        return self.found[term.lookup(self.query.phrase)]

    def window(self, number: int, facets: tuple[str, ...]) -> Found:
        return self.found[_window(self.query, number, facets)]

    @property
    def total(self) -> int:
        """How many passages there are within the scope."""
        return self.found[Lookup()].total

    @property
    def unknown(self) -> list[Term]:
        return [term for term in self.weights if not self.of(term).total]


async def find(
    index: Index, versions: Versions, scope: Scope, query: Query, wanted: Wanted, *, loosely: bool = False
) -> Page:
    """The passages that answer the query best, current ones only. `loosely`: also those that hold a part of it.

    Raises Temporary when the index or the records are not available.
    """
    if query.form == "nothing":
        return Page(query, facets=dict.fromkeys(wanted.facets, ()))
    eager = query.form == "loose" or (loosely and query.form != "browse")
    near = asyncio.create_task(index.near(scope, query.text)) if eager else None
    try:
        page = await _found(index, scope, query, wanted, near, loosely=loosely)
    finally:
        if near:
            near.cancel()
    page = await _current(versions, scope, page, wanted)
    return replace(page, spelling=taken(page.query, page.weights, page.hits))


async def _found(index: Index, scope: Scope, query: Query, wanted: Wanted, near: Near | None, *, loosely: bool) -> Page:
    view = await _look(index, scope, query, wanted)
    if spellings := await _spellings(index, scope, view):
        view = await _look(index, scope, replace(query, spellings=spellings), wanted)
    held = view.window(1, wanted.facets).total
    many = held >= ENOUGH and query.certain
    whole = query.form == "browse" or (query.form == "plain" and many and not loosely)
    if whole:
        return await _whole(index, scope, view, wanted)
    if near is None and any(view.of(term).total for term in view.weights):  # letters that are no words mean nothing
        near = asyncio.create_task(index.near(scope, query.text))
    return await _partial(index, scope, view, wanted, near, adding=loosely or query.form != "plain" or not held)


async def _look(index: Index, scope: Scope, query: Query, wanted: Wanted) -> View:
    """One round trip: how many passages there are, those that hold everything, and those of each term."""
    terms = query.terms
    windows = [_window(query, number, wanted.facets) for number in {1, *wanted.windows}]
    by_term = {term: term.lookup(query.phrase) for term in terms}
    lookups = list(dict.fromkeys([Lookup(), *windows, *by_term.values()]))
    found = dict(zip(lookups, await index.look_up(scope, lookups), strict=True))
    counts = {term: found[lookup].total for term, lookup in by_term.items()}
    return View(query, weights_of(counts, found[Lookup()].total, query.times), found)


def _window(query: Query, number: int, facets: tuple[str, ...]) -> Lookup:
    return query.whole(number, WINDOW, facets if number == 1 else ())


async def _spellings(index: Index, scope: Scope, view: View) -> tuple[tuple[Term, ...], ...]:
    """What words that no document has may stand for. What is quoted is meant as it stands."""
    if view.query.phrases:
        return ()
    misspelt = [term for term in view.unknown if term.typos][:MOST_MISSPELT]
    groups = await _alike(index, scope, {term: one_edit(term.form) for term in misspelt})
    further = {term: two_edits(term.form) for term in misspelt if not groups[term] and term.typos > 1}
    groups |= await _alike(index, scope, further)
    return tuple(group for group in groups.values() if group)


async def _alike(index: Index, scope: Scope, edits: Mapping[Term, set[str]]) -> dict[Term, tuple[Term, ...]]:
    """Of each term's possible spellings those that the documents have, likeliest first.

    Each round looks for those not seen before, so that a frequent word does not hide a rare one.
    """
    seen: dict[Term, Counter[str]] = {term: Counter() for term in edits}
    asked = list(edits)
    for _ in range(ROUNDS):
        lookups = [Lookup(any_of=tuple(sorted(edits[term] - set(seen[term]))), size=SAMPLE) for term in asked]
        texts = await index.texts(scope, lookups) if asked else []
        for term, found in zip(asked, texts, strict=True):
            seen[term].update(form for text in found for form in text.split() if form in edits[term])
        asked = [term for term, found in zip(asked, texts, strict=True) if len(found) == SAMPLE]
    return {term: alike(term, counts) for term, counts in seen.items()}


async def _whole(index: Index, scope: Scope, view: View, wanted: Wanted) -> Page:
    """The passages that hold everything: each window of them ranked by itself, so that pages never overlap."""
    windows = [view.window(number, wanted.facets) for number in wanted.windows]
    chunks = {chunk.id: chunk for chunk in await index.chunks(scope, _union(window.ids for window in windows))}
    hits = [each for window in windows for each in rank(view.query, view.weights, _those(chunks, window.ids))]
    first, before = view.window(1, wanted.facets), (wanted.windows[0] - 1) * WINDOW
    return Page(view.query, first.total, before, hits, shortened(first.facets), weights=view.weights)


async def _partial(index: Index, scope: Scope, view: View, wanted: Wanted, near: Near | None, *, adding: bool) -> Page:
    """The most promising passages, by words and by meaning; they are all there is to page through.

    Meaning makes the order. Where it is not `adding`, it finds none that hold no word: whoever types a name that some
    passage has wants to see how many have it, whether or not they have embeddings yet.
    """
    whole = view.window(1, wanted.facets)
    beside = adding and near is not None and not _is_nothing(near)
    ids = await _promising(index, scope, view, whole, BESIDE_NEAR if beside else LISTED)
    ids = ids[:WINDOW_BESIDE_NEAR] if beside else ids
    ranking = Ranking(view.query, view.weights)
    ranking.count(_as_quoted(view.query, await index.chunks(scope, ids)))  # meanwhile the nearest are looked for
    nearness = await near if near else None
    more = nearness.ids if nearness and adding else []
    if beside and (nearness is None or nearness.among < view.total):  # meaning can't make up for short lists yet
        more = [*more, *await _promising(index, scope, view, whole, LISTED)]
    more = [each for each in dict.fromkeys(more) if each not in ids]
    held, embedded = await asyncio.gather(
        index.chunks(scope, more), _embedded(index, scope, view, nearness, [*ids, *more])
    )
    ranking.count(_as_quoted(view.query, held))
    ranked = ranking.ranked()
    if nearness:
        ranked = liked(fused(ranked, nearness, embedded), nearness, embedded)
    hits = [each for each in ranked if each.score > 0]
    facets = counted(wanted.facets, (each.chunk for each in hits))
    return Page(view.query, len(hits), 0, hits, facets, weights=view.weights)


async def _promising(index: Index, scope: Scope, view: View, whole: Found, listed: int) -> list[str]:
    """The ids of the passages with the most weight of words, by lists of so many passages in all."""
    together = view.query.together(WINDOW)
    known = {view.query.whole(1, WINDOW): whole}  # of a few words that are as rare they are the same
    asked = _affordable(view, listed)
    lookups = [each for each in (together, *asked.values()) if each not in known]
    known |= dict(zip(lookups, await index.look_up(scope, lookups), strict=True))
    everything = sum(view.weights.values())
    lists = [(everything, whole.ids), (everything, known[together].ids)]
    lists += [(view.weights[term], known[lookup].ids) for term, lookup in asked.items()]
    return most_promising(lists, WINDOW)


async def _embedded(
    index: Index, scope: Scope, view: View, nearness: Nearness | None, ids: Sequence[str]
) -> Embedded | None:
    """What is known of embeddings beside the nearest while some passages have none yet; None when all have one."""
    if nearness is None or nearness.among == view.total:
        return None
    others = set(ids).difference(nearness.ids)
    share = min(1.0, nearness.among / view.total) if view.total else 1.0
    return Embedded(share, await index.embedded(scope, sorted(others)))


def _is_nothing(near: Near) -> bool:
    """Whether it is known already that there are no embeddings, or no model that answers."""
    return near.done() and not near.exception() and near.result() is None


def _affordable(view: View, most: int) -> dict[Term, Lookup]:
    """Lookups for passages of single terms, the rarest terms first, until so many passages are listed."""
    asked: dict[Term, Lookup] = {}
    left = min(FEWER, most) if view.query.form == "plain" else most
    for term in sorted(view.weights, key=lambda term: view.of(term).total):
        if size := min(left, LONGEST, view.of(term).total):
            asked[term] = term.lookup(view.query.phrase, size)
            left -= size
    return asked


async def _current(versions: Versions, scope: Scope, page: Page, wanted: Wanted) -> Page:
    """The part asked for, without passages of versions that were replaced or removed meanwhile."""
    start, end = wanted.offset - page.before, wanted.end - page.before
    hits = await _shown(versions, scope, page.hits[: end + SLACK])
    dropped = len(page.hits[: end + SLACK]) - len(hits)
    if len(hits) < end:
        more = await _shown(versions, scope, page.hits[end + SLACK :])
        dropped += len(page.hits[end + SLACK :]) - len(more)
        hits += more
    return replace(page, found=page.found - dropped, hits=hits[start:end])


async def _shown(versions: Versions, scope: Scope, hits: Sequence[Ranked]) -> list[Ranked]:
    if not hits:
        return []
    current = await versions.current(scope.tenant, {each.chunk.document_id: None for each in hits})
    return [each for each in hits if current.get(each.chunk.document_id) == each.chunk.version]


def _as_quoted(query: Query, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Those passages in which every quoted phrase stands as a whole."""
    if not query.phrases:
        return list(chunks)
    fields = ((chunk, (chunk.words, chunk.title_words, chunk.section_words)) for chunk in chunks)
    return [chunk for chunk, texts in fields if query.demands(*(text.split() for text in texts))]


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(each for ids in lists for each in ids))


def _those(by_id: Mapping[str, T], ids: Iterable[str]) -> list[T]:
    return [by_id[each] for each in ids if each in by_id]
