"""What a process remembers of the index, so as not to read it twice; bounded in bytes, what is long unused goes first.

Nothing remembered is ever wrong, and nothing goes to somebody who may not read it:
- a passage's id holds its document's version and a digest of its content and access list: what the id names never
  changes. It is handed out to those who read it there alone, by the readers kept with it;
- what a look-up found is remembered under the scope it was made in and the tenant's token, which every write to the
  tenant's index replaces, before and after. `MOST_SECONDS` is for changes behind the token's back: a restored index.
Whether a passage is current is asked of the records each time, as ever.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, Protocol, TypeVar, cast

from functions.search.fusion import Nearness
from functions.search.retrieval import Lookups
from knts.index import EVERYONE, group_digest
from knts.lookup import Chunk, Found, Lookup, Scope

MOST_SECONDS = 60.0  # that a look-up is remembered
CHUNK, ENTRY, ITEM = 1500, 700, 64  # bytes of the objects around a passage's texts, of an entry, of one in a list

T = TypeVar("T")


class Meanings(Protocol):
    """Which passages are near: `functions.search.meaning`."""

    async def near(self, scope: Scope, text: str) -> Nearness | None: ...

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]: ...


class Memory:
    """The memory of one process over an index. Calls raise what the index raises."""

    def __init__(
        self,
        index: Lookups,
        most_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        meanings: "Meanings | None" = None,
    ) -> None:
        self.index, self.meanings = index, meanings
        self.clock = clock
        self.kept = Kept(most_bytes)

    def at(self, token: str) -> "Remembered":
        """The index as it is while this is the tenant's token; read the token before."""
        return Remembered(self, token)


@dataclass(frozen=True)
class Remembered:
    """An `Index` that asks the real one for what the memory does not hold."""

    memory: Memory
    token: str

    async def look_up(self, scope: Scope, lookups: Sequence[Lookup]) -> list[Found]:
        """As the index would."""
        return await self._remembered("found", scope, lookups, self.memory.index.look_up, _size_of_found)

    async def texts(self, scope: Scope, lookups: Sequence[Lookup]) -> list[list[str]]:
        """As the index would."""
        return await self._remembered("texts", scope, lookups, self.memory.index.texts, _size_of_texts)

    async def chunks(self, scope: Scope, ids: Sequence[str]) -> list[Chunk]:
        """The passages of these ids that the asker may read, in the order of the ids.

        Those that are remembered are not held against the scope's filters: ids come from look-ups that were.
        """
        kept, readers = self.memory.kept, {EVERYONE, *map(group_digest, scope.groups)}
        known = {each: chunk for each in ids if (chunk := kept.get((scope.tenant, each))) is not None}
        missing = [each for each in ids if each not in known]
        for chunk in await self.memory.index.chunks(scope, missing) if missing else []:
            known[chunk.id] = chunk
            kept.put((scope.tenant, chunk.id), chunk, _size_of_chunk(chunk))
        return [known[each] for each in ids if each in known and not readers.isdisjoint(known[each].readers)]

    async def near(self, scope: Scope, text: str) -> Nearness | None:
        """The passages that are near what the text means; None where nothing embeds, which is not remembered."""
        if self.memory.meanings is None:
            return None
        kept, now, key = self.memory.kept, self.memory.clock(), (*self._within("near", scope), text)
        asked_at, known = kept.get(key) or (-MOST_SECONDS, None)
        if known is not None and now - asked_at < MOST_SECONDS:
            return cast(Nearness, known)
        found = await self.memory.meanings.near(scope, text)
        if found is not None:
            kept.put(key, (now, found), _size_of_nearness(found))
        return found

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]:
        """As the index would. Not remembered: it is asked for only until all passages have their embeddings."""
        return await self.memory.meanings.embedded(scope, ids) if self.memory.meanings else set()

    def _within(self, kind: str, scope: Scope) -> tuple[Hashable, ...]:
        return (kind, self.token, scope.tenant, tuple(sorted(scope.groups)), tuple(sorted(scope.filters.items())))

    async def _remembered(
        self,
        kind: str,
        scope: Scope,
        lookups: Sequence[Lookup],
        ask: Callable[[Scope, Sequence[Lookup]], Awaitable[list[T]]],
        size: Callable[[T], int],
    ) -> list[T]:
        kept, now = self.memory.kept, self.memory.clock()
        within = self._within(kind, scope)
        found: dict[Lookup, T] = {}
        for lookup in lookups:
            asked_at, result = kept.get((*within, lookup)) or (-MOST_SECONDS, None)
            if result is not None and now - asked_at < MOST_SECONDS:
                found[lookup] = result
        missing = [lookup for lookup in lookups if lookup not in found]
        for lookup, result in zip(missing, await ask(scope, missing) if missing else [], strict=True):
            found[lookup] = result
            kept.put((*within, lookup), (now, result), size(result))
        return [found[lookup] for lookup in lookups]


class Kept:
    """Values by key, `most_bytes` of them by the sizes that come with them."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        entry = self._values.get(key)
        if entry is None:
            return None
        self._values.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of `size` bytes, and forget those that were not used for longest."""
        self.bytes += size - self._values.pop(key, (None, 0))[1]
        self._values[key] = (value, size)
        while self.bytes > self.most_bytes:
            self.bytes -= self._values.popitem(last=False)[1][1]


def _size_of_chunk(chunk: Chunk) -> int:
    texts = getsizeof(chunk.text) + getsizeof(chunk.words) + getsizeof(chunk.lead)
    return ENTRY + CHUNK + texts + ITEM * 4 * len(chunk.values)


def _size_of_found(found: Found) -> int:
    values = [value for counts in found.facets.values() for value, _ in counts]
    return ENTRY + sum(map(getsizeof, (*found.ids, *values))) + ITEM * (len(values) + len(found.ids))


def _size_of_nearness(found: Nearness) -> int:
    passages = sum(ITEM * 2 + getsizeof(each.chunk_id) + getsizeof(each.packed) for each in found.passages)
    return ENTRY + 32 * len(found.question) + passages


def _size_of_texts(texts: list[str]) -> int:
    return ENTRY + sum(map(getsizeof, texts))
