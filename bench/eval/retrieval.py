"""Retrieval: nDCG@10 and Recall@100 through `/v1/search` of a whole local run, beside what it is made of.

The floors are Typesense's own keyword ranking, asked directly: of the question as it stands with default settings, as
whoever tries it sends it, and in the form of one keyword query that ranks questions best. All ways answer each question
one after the other, so that whatever else the machine does falls on all of them.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import aiohttp
import orjson

from bench.eval.intervals import SEED, with_interval
from bench.eval.judged import Hit, Judged, names, ndcg, read, recall
from bench.headlines import headline
from bench.local import Road, road
from bench.measure import table
from functions.search.memory import Memory
from functions.search.query import parse
from functions.search.retrieval import Wanted, find
from functions.search.stopwords import STOP_WORDS
from knts.clients.embedder import Embedder, EmbedServer
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import SEARCHED, ChunkSearch
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.index import scope_filter
from knts.lookup import Scope
from knts.settings import TypesenseServer
from knts.words import forms

SCOPE = Scope("local")
PAGE, DEPTH = 10, 100  # hits: what a page shows, which is timed; and what is judged
MEMORY = 64 * 2**20
SECONDS = 900.0  # that loading a collection may take
HEAD = ("set", "way", "nDCG@10 (95 %)", "Recall@100 (95 %)", "ms, p50", "of floor 1", "of floor 2")
AIMS = {"cranfield": "≥ .43", "cacm": "≥ .58"}

Way = Callable[[str, int], Awaitable[Sequence[Hit]]]


def tables(sets: Sequence[str], share: float = 1.0) -> Iterator[tuple[str, str]]:
    """One table a collection, each over a local run of its own; `share` of its passages have embeddings."""
    for name in sets or names():
        judged = read(name)
        if judged is None:
            print(f"{name}: skipped, its files are missing (KNTS_DATA names the folder)")
            continue
        with road(KNTS_EMBEDDINGS="packaged") as started:
            rows = asyncio.run(compare(started, judged, share))
        _, _, gain, found, _, ratio, beside_best = rows[-1]
        headline("retrieval", f"{name}: nDCG@10", gain, AIMS.get(name, ""))
        headline("retrieval", f"{name}: Recall@100", found)
        headline("retrieval", f"{name}: p50 of a page, of Typesense's for the question as typed", ratio, "≤ 3×")
        headline("retrieval", f"{name}: p50 of a page, of Typesense's best keyword query", beside_best)
        title = f"Retrieval: {name}, {len(judged.questions)} questions over {len(judged.documents)} documents"
        yield title, table(HEAD, rows)


async def compare(started: Road, judged: Judged, share: float) -> list[tuple[Any, ...]]:
    """The rows of one collection."""
    server = TypesenseServer(url=started.address("TYPESENSE_URL"), api_key=started.secret("typesense-key"))
    embed_server = EmbedServer(
        model=started.address("OLLAMA_EMBED_MODEL"), embed_url=started.address("OLLAMA_EMBED_URL")
    )
    async with (
        aiohttp.ClientSession() as http,
        connected(started.address("REDIS_URL")) as redis,
        Typesense(server) as typesense,
        Embedder(embed_server) as embedder,
    ):
        records = Records(redis)
        await _load(http, started, judged, records, Unembedded(redis, server.collection))
        await _keep(typesense, share)
        ways: dict[str, Way] = {
            "floor 1: Typesense, the question as it stands": plain(typesense),
            "floor 2: Typesense, its telling words": keywords(typesense),
            "vectors alone": vectors_alone(typesense, embedder),
            "kn-ts, words alone": words_alone(typesense, records),
            "kn-ts, /v1/search": through_ingress(http, started),
        }
        return await measured(judged, ways)


async def measured(judged: Judged, ways: dict[str, Way]) -> list[tuple[Any, ...]]:
    """Ask each way each question, first for a page, which is timed; a row for each."""
    gains: dict[str, list[float]] = {way: [] for way in ways}
    recalls: dict[str, list[float]] = {way: [] for way in ways}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for question, text in judged.questions.items():
        for way, ask in ways.items():
            began = time.perf_counter()
            await ask(text, PAGE)
            times[way].append((time.perf_counter() - began) * 1000)
            found = judged.found(question, await ask(text, DEPTH))
            gains[way].append(ndcg(found, judged.grades[question]))
            recalls[way].append(recall(found, judged.grades[question]))
    medians = {way: statistics.median(times[way]) for way in ways}
    floors = list(medians.values())[:2]
    return [
        (
            judged.name,
            way,
            with_interval(gains[way]),
            with_interval(recalls[way]),
            f"{medians[way]:.1f}",
            *(f"{medians[way] / floor:.2f}×" for floor in floors),
        )
        for way in ways
    ]


def plain(typesense: Typesense) -> Way:
    """Typesense's own ranking, default settings."""
    return lambda question, hits: _asked(typesense, hits, q=question)


def keywords(typesense: Typesense) -> Way:
    """Typesense's own ranking of the words that are no stop words, as they are, any of which may be missing."""

    async def ask(question: str, hits: int) -> list[Hit]:
        words = " ".join(word for word in forms(question) if word not in STOP_WORDS)
        exact = {"num_typos": 0, "prefix": False, "drop_tokens_threshold": 200}
        return await _asked(typesense, hits, q=words or question, **exact)

    return ask


async def _asked(typesense: Typesense, hits: int, **search: Any) -> list[Hit]:
    whole = {
        "collection": typesense.server.collection,
        "query_by": SEARCHED,
        "filter_by": scope_filter(SCOPE.tenant, SCOPE.groups),
        "include_fields": "document_id,text",
        "per_page": hits,
        **search,
    }
    reply = await typesense.request("POST", "/multi_search", json={"searches": [whole]})
    return [(hit["document"]["document_id"], hit["document"]["text"]) for hit in reply["results"][0]["hits"]]


def vectors_alone(typesense: Typesense, embedder: Embedder) -> Way:
    """The nearest passages by their embeddings."""
    vectors, search = Vectors(typesense), ChunkSearch(typesense)

    async def ask(question: str, hits: int) -> list[Hit]:
        model = await vectors.serving()
        if model is None:
            raise SystemExit("no embeddings were made")
        vector = (await embedder.embed(model.name, [question]))[0]
        near = (await vectors.nearest(SCOPE, model, vector, hits)).passages
        return [(each.document_id, each.text) for each in await search.chunks(SCOPE, [each.chunk_id for each in near])]

    return ask


def words_alone(typesense: Typesense, records: Records) -> Way:
    """The search function without embeddings, in this process, with a memory that is empty at first."""
    search = Memory(ChunkSearch(typesense), MEMORY).at("nothing is written meanwhile")

    async def ask(question: str, hits: int) -> list[Hit]:
        page = await find(search, records, SCOPE, parse(question), Wanted(limit=hits))
        return [(each.chunk.document_id, each.chunk.text) for each in page.hits]

    return ask


def through_ingress(http: aiohttp.ClientSession, started: Road) -> Way:
    """What a user gets."""

    async def ask(question: str, hits: int) -> list[Hit]:
        async with http.get(f"{started.api}/v1/search", params={"q": question, "limit": hits}) as response:
            response.raise_for_status()
            found = await response.json(loads=orjson.loads)
        return [(hit["document_id"], hit["passage"]["text"]) for hit in found["hits"]]

    return ask


async def _load(
    http: aiohttp.ClientSession, started: Road, judged: Judged, records: Records, waiting: Unembedded
) -> None:
    """Post the documents and wait until all of them are indexed and embedded."""
    body = b"\n".join(orjson.dumps({**each, "version": 1}) for each in judged.documents)
    kind = {"Content-Type": "application/x-ndjson"}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with http.post(f"{started.api}/v1/documents", data=body, headers=kind, timeout=timeout) as response:
        accepted = (await response.json(loads=orjson.loads))["accepted"]
    if accepted != len(judged.documents):
        raise SystemExit(f"{judged.name}: {accepted} of {len(judged.documents)} documents were accepted")
    ids = [each["id"] for each in judged.documents]
    async with asyncio.timeout(SECONDS):
        while len(await records.current(SCOPE.tenant, ids)) < len(ids) or await waiting.count():  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def _keep(typesense: Typesense, share: float) -> None:
    """Take their embeddings from all passages but a random share, as if they had not been made yet."""
    if share >= 1:
        return
    collection = await typesense.request("GET", f"/aliases/{typesense.server.collection}_vectors")
    documents = f"/collections/{collection['collection_name']}/documents"
    lines = (await typesense.call("GET", f"{documents}/export", params={"include_fields": "id"})).splitlines()
    ids = sorted(orjson.loads(line)["id"] for line in lines)
    gone = random.Random(SEED).sample(ids, round(len(ids) * (1 - share)))
    for at in range(0, len(gone), 100):
        wanted = f"id:[{','.join(gone[at : at + 100])}]"
        await typesense.call("DELETE", documents, params={"filter_by": wanted})


def main() -> None:
    """Print a table for each collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="collections; all that are there by default")
    parser.add_argument("--embedded", type=float, default=1.0, metavar="SHARE", help="of the passages; 1 by default")
    wanted = parser.parse_args()
    for title, told in tables(wanted.sets, wanted.embedded):
        print(f"### {title}\n\n{told}\n", flush=True)


if __name__ == "__main__":
    main()
