"""Lookups on a real Typesense: they mean what an index in memory says they mean, whatever the documents hold."""

import dataclasses
import random
import secrets
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.search.memory import Memory
from knts.clients.chunks import Chunks
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.errors import Temporary
from knts.index import document_digest
from knts.lookup import Found, Lookup, Scope
from knts.settings import TypesenseServer
from tests.searching import FakeIndex, chunk, document, holds

TWICE = [f"word{letter}" for letter in "abcdefghijkl"]  # few enough for passages to hold some of them twice
VOCABULARY = [
    "sling",
    "slings",
    "arrow",
    "arrows",
    "the",
    "to",
    "be",
    "internationalism",
    "internationalist",
    "東",
    "мир",
    "x2",
]
TEXTS = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=3).map(tuple)
DOCUMENTS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from("abc")), max_size=6)
PHRASES = st.lists(st.sampled_from(VOCABULARY), min_size=2, max_size=4, unique=True).map(tuple)
LOOKUPS = st.builds(
    Lookup,
    words=WORDS,
    phrase=st.just(()) | PHRASES,
    beginning=st.sampled_from(["", "s", "ar", "arrow", "internat", "м", "zz"]),
    any_of=st.lists(st.sampled_from([*VOCABULARY, "zz"]), max_size=3).map(tuple),
    size=st.sampled_from([0, 2, 50]),
    page=st.integers(1, 2),
    facets=st.sampled_from([(), ("kind",), ("kind", "tags", "title", "nobody has this one")]),
)


@pytest.fixture
async def typesense(typesense_server: TypesenseServer) -> AsyncIterator[Typesense]:
    async with Typesense(typesense_server) as opened:
        yield opened


async def written(typesense: Typesense, *lines: bytes) -> ChunkSearch:
    assert await Chunks(typesense).add(lines) == [None] * len(lines)
    return ChunkSearch(typesense)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, st.lists(LOOKUPS, min_size=1, max_size=12))
async def test_lookups_mean_what_they_say(
    typesense_server: TypesenseServer, held: list[tuple[str, str, str]], lookups: list[Lookup]
) -> None:
    async with Typesense(typesense_server) as typesense:
        scope = Scope(secrets.token_hex(4))  # what earlier examples wrote stays, as other tenants' documents
        lines = [
            line
            for number, (title, text, kind) in enumerate(held)
            for line in document(
                f"d{number}", text, tenant=scope.tenant, title=title, metadata={"kind": kind}, tags=[kind]
            )
        ]
        search = await written(typesense, *lines)
        everything = await search.look_up(scope, [Lookup(size=250)])
        model = FakeIndex(await search.chunks(scope, everything[0].ids))
        assert len(model.chunks_held) == len(held)
        for lookup, real, meant in zip(
            lookups, await search.look_up(scope, lookups), await model.look_up(scope, lookups), strict=True
        ):
            assert (real.total, real.facets) == (meant.total, meant.facets), lookup
            assert len(real.ids) == len(meant.ids), lookup
        whole = [dataclasses.replace(lookup, size=50, page=1) for lookup in lookups]
        ids = [set(found.ids) for found in await search.look_up(scope, whole)]
        assert ids == [set(found.ids) for found in await model.look_up(scope, whole)]
        texts = [sorted(found) for found in await search.texts(scope, whole)]
        assert [len(found) for found in texts] == [len(found) for found in ids]


async def test_a_passage_comes_back_as_it_was_written(typesense: Typesense) -> None:
    text = "  One “naïve” line.\n\nAnd 😀 another  "
    search = await written(
        typesense,
        *document(
            "Ö/1", text, version=7, title="Tïtle", url="/x", tags=["b", "a"], lang="en", metadata={"act": [3, "IV"]}
        ),
    )
    [found] = await search.look_up(Scope("t"), [Lookup(size=5)])
    [chunk] = await search.chunks(Scope("t"), found.ids)
    assert (chunk.document_id, chunk.version, chunk.number, chunk.title, chunk.url) == ("Ö/1", 7, 0, "Tïtle", "/x")
    assert text[chunk.start : chunk.end] == chunk.text == text.strip()
    assert chunk.words == "one naive line and another"
    assert chunk.metadata == {"act": ("3", "IV")}
    assert chunk.values == {"act": ("3", "IV"), "tags": ("b", "a"), "lang": ("en",), "title": ("Tïtle",)}


async def test_passages_come_back_with_what_stands_between_them(typesense: Typesense) -> None:
    text = "word " * 170 + " \n\n" + "another " * 110 + "\n\n# Next\n\nEnd."
    search = await written(typesense, *document("d", text))
    [found] = await search.look_up(Scope("t"), [Lookup(size=5)])
    chunks = sorted(await search.chunks(Scope("t"), found.ids), key=lambda chunk: chunk.number)
    assert [chunk.continues for chunk in chunks] == [False, True, False]
    assert "".join(f"{chunk.lead}{chunk.text}" for chunk in chunks) == text


async def test_filters_are_exact_and_take_any_of_their_values(typesense: Typesense) -> None:
    values = ["1", "-1", "C", "C++", "a && tenant:=x", "`quoted`", "[x,y]", "Hamlet"]
    lines = [document(f"d{number}", "word", metadata={"k y": value})[0] for number, value in enumerate(values)]
    search = await written(typesense, *lines)
    for number, value in enumerate(values):
        [found] = await search.look_up(Scope("t", (), {"k y": (value,)}), [Lookup(size=9)])
        [chunk] = await search.chunks(Scope("t"), found.ids)
        assert chunk.document_id == f"d{number}"
    counts = [
        (await search.look_up(Scope("t", (), filters), [Lookup()]))[0].total
        for filters in ({"k y": ("1", "C")}, {"k y": ("none",)}, {"other": ("1",)}, {"k y": ("1",), "tags": ("x",)})
    ]
    assert counts == [2, 0, 0, 0]


async def test_as_many_filters_and_words_as_a_request_may_have(typesense: Typesense) -> None:
    metadata = {f"key{number}": "v" for number in range(32)}
    search = await written(typesense, *document("d", "a b c d and e", metadata=metadata))
    scope = Scope("t", (), {key: ("v", *map(str, range(63))) for key in metadata})
    phrase = Lookup(("a", "b", "c"), ("a", "b", "c", "d", "and"), "e", size=1)
    words, alternatives = Lookup(("a", "b", "c", "d"), beginning="e"), Lookup(any_of=tuple("abc"))
    found = await search.look_up(scope, [phrase, words, alternatives])
    assert [each.total for each in found] == [1, 1, 1]
    assert len(await search.chunks(scope, found[0].ids)) == 1


async def test_a_deleted_document_takes_no_word_away_from_another(typesense: Typesense) -> None:
    """0.24.1 does, now and then, when the deleted one holds a word twice in a field."""
    chance = random.Random(7)
    texts = {f"d{number}": " ".join(chance.choices(TWICE, k=10)) for number in range(24)}
    search = await written(typesense, *(line for name, text in texts.items() for line in document(name, text)))
    lookups = [*(Lookup((word,)) for word in TWICE), *(Lookup(phrase=pair) for pair in pairwise(TWICE))]
    for name in chance.sample(sorted(texts), 18):
        del texts[name]
        await Chunks(typesense).drop_up_to(document_digest("t", name), 1)
        held = [chunk(other, text) for other, text in texts.items()]
        found = await search.look_up(Scope("t"), lookups)
        assert [each.total for each in found] == [sum(holds(each, lookup) for each in held) for lookup in lookups]


async def test_passages_outside_the_scope_are_not_handed_out_by_id(typesense: Typesense) -> None:
    lines = [*document("open", "w"), *document("shared", "w", acl=["staff"]), *document("theirs", "w", tenant="u")]
    search = await written(typesense, *lines)
    ids = [line.split(b'"id":"')[1].split(b'"')[0].decode() for line in lines]
    memory = Memory(search, 2**20)
    for scope, readable in (
        (Scope("t"), ["open"]),
        (Scope("t", ("staff", "x")), ["open", "shared"]),
        (Scope("u"), ["theirs"]),
        (Scope("v", ("staff",)), []),
    ):
        assert [chunk.document_id for chunk in await search.chunks(scope, ids)] == readable
        for _ in range(2):  # now that passages of the scopes before are remembered
            assert [chunk.document_id for chunk in await memory.at("any").chunks(scope, ids)] == readable


async def test_before_anything_is_indexed_nothing_is_found(typesense: Typesense) -> None:
    search = ChunkSearch(typesense)
    assert await search.look_up(Scope("t"), [Lookup(("a",), facets=("kind",))]) == [Found(0, (), {"kind": ()})]
    assert await search.chunks(Scope("t"), ["x"]) == []


async def test_a_server_that_is_gone_is_temporary(typesense_server: TypesenseServer) -> None:
    gone = dataclasses.replace(typesense_server, url="http://127.0.0.1:9")
    async with Typesense(gone) as typesense:
        with pytest.raises(Temporary, match="not available"):
            await ChunkSearch(typesense).look_up(Scope("t"), [Lookup()])


async def test_a_key_that_is_refused_is_temporary(typesense_server: TypesenseServer) -> None:
    async with Typesense(dataclasses.replace(typesense_server, api_key="wrong")) as typesense:
        with pytest.raises(Temporary):
            await ChunkSearch(typesense).look_up(Scope("t"), [Lookup()])
