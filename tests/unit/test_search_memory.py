"""What a process remembers: what the index says, for those alone who may read it, in no more bytes than allowed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from functions.search.memory import MOST_SECONDS, Kept, Memory
from functions.search.query import parse
from functions.search.retrieval import Wanted, find
from knts.index import group_digest
from knts.lookup import Lookup, Scope
from tests.searching import SCOPE, FakeIndex, ScriptedVersions, chunk

PASSAGES = [chunk(f"d{number}", f"lamp and fog {number}", kind=str(number % 2)) for number in range(9)]
LAMPS = Lookup(("lamp",), size=9, facets=("kind",))


def memory(index: FakeIndex, most_bytes: int = 2**20, now: float = 0.0) -> tuple[Memory, list[float]]:
    clock = [now]
    return Memory(index, most_bytes, lambda: clock[0]), clock


async def test_nothing_is_asked_twice_while_the_token_stands() -> None:
    index = FakeIndex(PASSAGES)
    here, _ = memory(index)
    lookups = [Lookup(), LAMPS]
    first = await here.at("a").look_up(SCOPE, lookups)
    chunks = await here.at("a").chunks(SCOPE, first[1].ids)
    assert index.calls == ["look_up", "chunks"]
    assert await here.at("a").look_up(SCOPE, lookups[::-1]) == first[::-1]
    assert await here.at("b").chunks(SCOPE, first[1].ids[::-1]) == chunks[::-1]
    assert index.calls == ["look_up", "chunks"]
    assert await here.at("a").texts(SCOPE, [LAMPS]) == await here.at("a").texts(SCOPE, [LAMPS])
    assert index.calls == ["look_up", "chunks", "texts"]


async def test_only_what_is_missing_is_asked_for() -> None:
    index = FakeIndex(PASSAGES)
    here, _ = memory(index)
    await here.at("a").chunks(SCOPE, ["d1-0", "d3-0"])
    index.chunks_held = PASSAGES[2:3]
    found = await here.at("a").chunks(SCOPE, ["d3-0", "d2-0", "gone", "d1-0"])
    assert [each.document_id for each in found] == ["d3", "d2", "d1"]


async def test_a_write_makes_what_was_found_unreachable() -> None:
    index = FakeIndex(PASSAGES)
    here, _ = memory(index)
    await here.at("before").look_up(SCOPE, [LAMPS])
    index.chunks_held = PASSAGES[:2]
    [found] = await here.at("after").look_up(SCOPE, [LAMPS])
    assert found.total == 2


async def test_what_was_found_is_forgotten_after_a_while() -> None:
    index = FakeIndex(PASSAGES)
    here, clock = memory(index)
    await here.at("a").look_up(SCOPE, [LAMPS])
    index.chunks_held = []
    clock[0] = MOST_SECONDS - 1
    assert (await here.at("a").look_up(SCOPE, [LAMPS]))[0].total == 9
    clock[0] = MOST_SECONDS
    assert (await here.at("a").look_up(SCOPE, [LAMPS]))[0].total == 0


async def test_another_scope_sees_nothing_of_what_was_remembered() -> None:
    staff = replace(PASSAGES[0], readers=(group_digest("staff"),))
    index = FakeIndex([staff], {staff.id: ["staff"]})
    here, _ = memory(index)
    insider, stranger = Scope("t", ("other", "staff")), Scope("t", ("other",))
    assert (await here.at("a").look_up(insider, [LAMPS]))[0].total == 1
    assert await here.at("a").chunks(insider, [staff.id]) == [staff]
    index.chunks_held = []
    assert await here.at("a").chunks(insider, [staff.id]) == [staff]
    assert await here.at("a").chunks(Scope("t", ("staff",)), [staff.id]) == [staff]
    for scope in (stranger, Scope("t"), Scope("u", ("staff",))):
        assert (await here.at("a").look_up(scope, [LAMPS]))[0].total == 0
        assert await here.at("a").chunks(scope, [staff.id]) == []


async def test_filters_are_a_part_of_the_scope() -> None:
    here, _ = memory(FakeIndex(PASSAGES))
    totals = [
        (await here.at("a").look_up(Scope("t", (), filters), [LAMPS]))[0].total
        for filters in ({}, {"kind": ("0",)}, {"kind": ("1",)}, {"kind": ("0", "1")}, {"no": ("1",)})
    ]
    assert totals == [9, 5, 4, 9, 0]


@given(st.lists(st.text(alphabet="ab ", max_size=6), min_size=1, max_size=8), st.sampled_from([1, 5_000, 2**20]))
async def test_a_search_finds_with_a_memory_what_it_finds_without(typed: list[str], most_bytes: int) -> None:
    index = FakeIndex([chunk(f"d{number}", text) for number, text in enumerate(["a b", "b", "ab ba", "", "a a", "bb"])])
    here, _ = memory(index, most_bytes)
    for text in typed * 2:
        remembered = await find(here.at("a"), ScriptedVersions(), SCOPE, parse(text), Wanted())
        assert remembered == await find(index, ScriptedVersions(), SCOPE, parse(text), Wanted())
        assert here.kept.bytes <= most_bytes


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=40))
def test_the_last_used_are_kept_within_the_bytes_allowed(puts: list[tuple[int, int]]) -> None:
    kept, sizes = Kept(100), dict[int, int]()
    for key, size in puts:
        kept.put(key, size, size)
        sizes.pop(key, None)
        sizes[key] = size
        while sum(sizes.values()) > 100:
            sizes.pop(next(iter(sizes)))
        assert kept.bytes == sum(sizes.values())
        assert [kept.get(each) for each in range(6)] == [sizes.get(each) for each in range(6)]
        sizes = {each: sizes[each] for each in sorted(sizes)}  # reading them in that order was a use
