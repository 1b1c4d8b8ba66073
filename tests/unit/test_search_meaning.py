"""Without embeddings, or with a model that is away, search goes by words."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from functions.search.fusion import Nearness
from functions.search.meaning import Meanings
from functions.search.memory import Memory
from functions.search.query import parse
from functions.search.retrieval import WINDOW, WINDOW_BESIDE_NEAR, Wanted, find
from knts.clients.embedder import EmbedderAway
from knts.embeddings import Model, Near, Nearest
from knts.errors import IndexUnavailable
from knts.lookup import Scope
from tests.searching import SCOPE, FakeIndex, ScriptedVersions, chunk

MODEL = Model("m", 2)


@dataclass
class FakeVectors:
    model: Model | None = MODEL
    away: bool = False

    async def serving(self) -> Model | None:
        return self.model

    async def nearest(self, scope: Scope, model: Model, vector: Sequence[float], most: int) -> Nearest:
        if self.away:
            raise IndexUnavailable("gone")
        return Nearest([Near("ship-0", 0.9, b"\x7f\x00")], 1)

    async def embedded(self, scope: Scope, model: Model, ids: Sequence[str]) -> set[str]:
        return {"ship-0"} & set(ids)


@dataclass
class FakeEmbedder:
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        self.asked += texts
        if self.away:
            raise EmbedderAway("gone")
        return [[1.0, 0.0] for _ in texts]


async def test_a_question_is_embedded_by_the_model_of_the_passages() -> None:
    near = await Meanings(FakeVectors(), FakeEmbedder(), 1).near(SCOPE, "a vessel?")
    assert near == Nearness([1.0, 0.0], [Near("ship-0", 0.9, b"\x7f\x00")], 1, "m")


async def test_without_embeddings_no_model_is_asked() -> None:
    embedder = FakeEmbedder()
    assert await Meanings(FakeVectors(None), embedder, 1).near(SCOPE, "a vessel?") is None
    assert embedder.asked == []


@pytest.mark.parametrize("meanings", [
    Meanings(FakeVectors(), FakeEmbedder(away=True), 1),
    Meanings(FakeVectors(Model("m", 3)), FakeEmbedder(), 1),
])  # fmt: skip
async def test_where_the_question_cannot_be_embedded_words_alone_count(meanings: Meanings) -> None:
    assert await meanings.near(SCOPE, "a vessel?") is None


async def test_an_index_that_is_away_is_said_to_be() -> None:
    with pytest.raises(IndexUnavailable):
        await Meanings(FakeVectors(away=True), FakeEmbedder(), 1).near(SCOPE, "a vessel?")


async def test_a_passage_is_found_that_holds_none_of_the_words() -> None:
    ship, house = chunk("ship", "a ship at sea"), chunk("house", "the house has a boat shed")
    index = FakeIndex([ship, house], nearness=Nearness([1.0, 0.0], [Near("ship-0", 0.9, b"\x7f\x00")], 1))
    page = await find(index, ScriptedVersions(), SCOPE, parse("is there any boat?"), Wanted())
    assert [each.chunk.document_id for each in page.hits] == ["house", "ship"]


async def test_a_few_words_that_a_passage_holds_are_found_and_nothing_else() -> None:
    near = Nearness([1.0, 0.0], [Near("ship-0", 0.9, b"\x7f\x00"), Near("shed-0", 0.5, b"\x40\x40")], 3)
    held = [chunk("ship", "a ship at sea"), chunk("house", "the house has a boat shed"), chunk("shed", "a boat")]
    for nearness in (None, near):
        index = FakeIndex(held, nearness=nearness)
        page = await find(index, ScriptedVersions(), SCOPE, parse("boat shed "), Wanted())
        assert ({each.chunk.document_id for each in page.hits}, page.found) == ({"house", "shed"}, 2)


async def test_meaning_makes_the_order_of_a_few_words_too() -> None:
    held = [chunk("a", "a boat in a garden"), chunk("b", "a boat in a harbour")]
    near = Nearness([1.0, 0.0], [Near("b-0", 0.9, b"\x7f\x00"), Near("a-0", 0.5, b"\x40\x40")], 2)
    for nearness, order in ((None, ["a", "b"]), (near, ["b", "a"])):
        page = await find(FakeIndex(held, nearness=nearness), ScriptedVersions(), SCOPE, parse("boat "), Wanted())
        assert [each.chunk.document_id for each in page.hits] == order


async def test_which_passages_have_embeddings_is_asked_only_while_some_have_none() -> None:
    held = [chunk("ship", "a ship at sea"), chunk("house", "the house has a boat shed")]
    for among, asked in ((1, ["house-0"]), (2, None)):
        near = Nearness([1.0, 0.0], [Near("ship-0", 0.9, b"\x7f\x00")], among)
        index = FakeIndex(held, nearness=near)
        await find(index, ScriptedVersions(), SCOPE, parse("is there any boat?"), Wanted())
        assert index.asked_embedded == asked


async def test_as_many_are_found_by_words_while_only_a_few_have_embeddings_as_without_any() -> None:
    held = [chunk(f"d{number:03}", f"a common word {number}") for number in range(2 * WINDOW)]
    near = [Near("d299-0", 0.9, b"\x7f\x00")]
    found = {}
    for among in (None, 1, len(held)):
        index = FakeIndex(held, nearness=None if among is None else Nearness([1.0, 0.0], near, among))
        found[among] = (await find(index, ScriptedVersions(), SCOPE, parse("is it a common thing?"), Wanted())).found
    assert found == {None: WINDOW, 1: WINDOW + 1, len(held): WINDOW_BESIDE_NEAR + 1}


async def test_letters_that_nobody_wrote_find_nothing_however_near_something_is() -> None:
    index = FakeIndex([chunk("ship", "a ship")], nearness=Nearness([1.0, 0.0], [Near("ship-0", 0.9, b"\x7f\x00")], 1))
    assert (await find(index, ScriptedVersions(), SCOPE, parse("qqzz"), Wanted())).hits == []


async def test_what_is_near_is_remembered_until_the_index_changes() -> None:
    embedder = FakeEmbedder()
    memory = Memory(FakeIndex([]), 100_000, meanings=Meanings(FakeVectors(), embedder, 1))
    assert await memory.at("one").near(SCOPE, "a vessel?") == await memory.at("one").near(SCOPE, "a vessel?")
    await memory.at("two").near(SCOPE, "a vessel?")
    await memory.at("two").near(Scope("t", ("g",)), "a vessel?")
    assert len(embedder.asked) == 3
