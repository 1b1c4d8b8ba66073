"""What somebody finds tells nothing of documents that he may not read: not one byte of a result changes with them.

On a real Typesense, whose one dictionary holds everybody's words. The time that a search took is not compared: how long
work takes on a shared server is not hidden.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.search.meaning import Meanings
from functions.search.memory import Memory
from functions.search.passages import choose, passage
from functions.search.query import parse, question
from functions.search.result import body
from functions.search.retrieval import Index, Wanted, find
from knts.clients import typesense_search
from knts.clients.chunks import Chunks
from knts.clients.typesense import Typesense
from knts.clients.vectors import Passage, Vectors
from knts.embeddings import Model, normalised
from knts.index import document_digest
from knts.lookup import Scope
from knts.settings import TypesenseServer
from tests.searching import NothingRemembered, ScriptedVersions, document, without_time

WORDS = ["sling", "slings", "sing", "arrow", "arrows", "harrow", "to", "be", "the", "question", "questions"]
WORDS += ["international", "internationalist", "internationalism", "internationalization", "東京", "мир"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
NEAR = st.sampled_from(WORDS).flatmap(
    lambda word: st.builds(
        lambda at, letter, cut: (word[:at] + letter + word[at + cut :]) or "x",
        st.integers(0, len(word)),
        st.sampled_from(["", "a", "s", "z"]),
        st.integers(0, 2),
    )
)  # a word that is like one of the words, or begins like it
ANY_TEXT = st.lists(st.sampled_from(WORDS) | NEAR, min_size=1, max_size=8).map(" ".join)
QUERIES = st.one_of(TEXTS, ANY_TEXT, TEXTS.map('"{}"'.format), st.sampled_from(["", '"to be" "to be the"']))
OTHERS = [("t", ["others"]), ("elsewhere", []), ("elsewhere", ["mine"])]  # tenants and groups he has no part in


async def results(search: Index, scope: Scope, queries: Sequence[str]) -> list[bytes]:
    """The bytes of each search's result, and of the passages that the same words as a question lead to."""
    found = []
    versions = ScriptedVersions()
    for typed in queries:
        wanted = Wanted(0, 20, ("kind", "tags", "lang", "theirs"))
        page = await find(search, versions, scope, parse(typed), wanted)
        found.append(without_time(body(typed, page, wanted, 0)))
        asked = await find(search, versions, scope, question(typed), Wanted(limit=20), loosely=True)
        found.append(without_time({"passages": [passage(hit) for hit in choose(asked.hits, 4)]}))
    return found


class LetterModel:
    """Stands for the model: a text's embedding is how often each of some letters is in it."""

    made = Model("letters", 6)

    @staticmethod
    def of(text: str) -> list[float]:
        return normalised([0.1 + text.count(letter) for letter in "sigart"])

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        return [self.of(text) for text in texts]


class World:
    """One tenant's documents among others' on one server; each world has tenants of its own."""

    def __init__(self, typesense: Typesense) -> None:
        self.chunks, self.vectors = Chunks(typesense), Vectors(typesense)
        self.salt = secrets.token_hex(4)
        self.search = NothingRemembered(typesense)
        self.search.meanings = Meanings(self.vectors, LetterModel(), 5)

    def scope(self, filters: dict[str, tuple[str, ...]]) -> Scope:
        return Scope(f"t-{self.salt}", ("mine",), filters)

    async def write(self, document_id: str, text: str, tenant: str, acl: list[str], key: str, version: int = 1) -> None:
        more: dict[str, Any] = {"title": text[:9], "acl": acl, "metadata": {key: text[:1]}, "tags": [text[-1:]]}
        lines = document(document_id, text, version, f"{tenant}-{self.salt}", **more)
        assert await self.chunks.add(lines) == [None] * len(lines)
        await self.vectors.drop(
            f"document:={document_digest(f'{tenant}-{self.salt}', document_id)}", [LetterModel.made]
        )
        passages = [Passage(json.loads(line)) for line in lines]
        await self.vectors.add(LetterModel.made, [(each, LetterModel.of(each.text)) for each in passages])

    async def remove(self, document_id: str, tenant: str) -> None:
        digest = document_digest(f"{tenant}-{self.salt}", document_id)
        await self.chunks.drop_up_to(digest, 9)
        await self.vectors.drop(f"document:={digest}", [LetterModel.made])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mine=st.lists(TEXTS, min_size=1, max_size=6),
    theirs=st.lists(st.tuples(ANY_TEXT, ANY_TEXT, st.sampled_from(OTHERS)), min_size=1, max_size=6),
    queries=st.lists(QUERIES, min_size=1, max_size=4),
    filters=st.sampled_from([{}, {"kind": ("s", "t")}]),
)
async def test_documents_out_of_scope_change_no_byte(
    typesense_server: TypesenseServer,
    mine: list[str],
    theirs: list[tuple[str, str, tuple[str, list[str]]]],
    queries: list[str],
    filters: dict[str, tuple[str, ...]],
) -> None:
    async with Typesense(typesense_server) as typesense:
        world = World(typesense)
        search = world.search
        for number, text in enumerate(mine):
            await world.write(f"d{number}", text, "t", ["mine"] if number % 2 else [], "kind")
        before = await results(search, world.scope(filters), queries)
        for number, (text, _, (tenant, acl)) in enumerate(theirs):
            await world.write(f"o{number}", text, tenant, acl, "kind" if number % 2 else "theirs")
        assert await results(search, world.scope(filters), queries) == before, "added"
        for number, (_, text, (tenant, acl)) in enumerate(theirs):
            await world.write(f"o{number}", text, tenant, acl, "kind", version=2)
        assert await results(search, world.scope(filters), queries) == before, "changed"
        await asyncio.gather(*(world.remove(f"o{number}", tenant) for number, (_, _, (tenant, _)) in enumerate(theirs)))
        assert await results(search, world.scope(filters), queries) == before, "deleted"


async def test_nobody_finds_what_was_remembered_of_others_searches(typesense_server: TypesenseServer) -> None:
    """One process serves everybody: whoever searched before, each finds what he would find alone."""
    async with Typesense(typesense_server) as typesense:
        world = World(typesense)
        search = world.search
        for number, (tenant, acl) in enumerate([("t", []), ("t", ["mine"]), *OTHERS]):
            await world.write(f"d{number}", f"sling arrow {number}", tenant, acl, "kind")
        tenants = [f"{name}-{world.salt}" for name in ("t", "elsewhere")]
        scopes = [Scope(tenant, groups) for tenant in tenants for groups in ((), ("mine",), ("others", "mine"))]
        queries, memory = (
            ["sling", "arow", "", '"sling arrow"', "what is an arrow"],
            Memory(search, 2**20, meanings=search.meanings),
        )
        alone = [await results(search, scope, queries) for scope in scopes]
        for _ in range(2):
            assert [await results(memory.at(scope.tenant), scope, queries) for scope in scopes] == alone
        assert len({tuple(found) for found in alone}) > 3


@pytest.mark.parametrize(
    ("held", "typed"),
    [
        ("sling", "slngs"),
        ("to be the question", '"to be" "slings arrows"'),
        ("internationalism internationalist", "internationalization"),
        ("arrow arrow arrows", "arr"),
        ("to be or to be", '"be to be"'),
    ],
)
async def test_others_dictionary_does_not_matter(typesense_server: TypesenseServer, held: str, typed: str) -> None:
    """The cases by which Typesense itself tells of others' words: typos, several phrases, long beginnings."""
    async with Typesense(typesense_server) as typesense:
        world = World(typesense)
        search = world.search
        await world.write("d", held, "t", [], "kind")
        before = await results(search, world.scope({}), [typed])
        words = "slings slung arrows arrowroot internationalize internatxonalism be to be slngs"
        for number in range(30):
            await world.write(f"o{number}", f"{words} arr{number} slng{number} slings arrows", "elsewhere", [], "kind")
        assert await results(search, world.scope({}), [typed]) == before


async def test_this_test_would_notice(typesense_server: TypesenseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the scope forgotten in one place the bytes do change."""
    async with Typesense(typesense_server) as typesense:
        world = World(typesense)
        search = world.search
        await world.write("d", "sling arrow", "t", [], "kind")
        before = await results(search, world.scope({}), ["sling"])
        await world.write("o", "sling", "elsewhere", [], "kind")
        assert await results(search, world.scope({}), ["sling"]) == before
        monkeypatch.setattr(typesense_search, "scope_filter", lambda tenant, groups: "version:>0")
        assert await results(search, world.scope({}), ["sling"]) != before
