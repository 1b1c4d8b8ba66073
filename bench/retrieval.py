"""`python -m bench.retrieval`: how well the search function ranks, beside what Typesense does with the same question.

Judged collections from `KNTS_DATA` (default `../shared/data`): `ir/<name>/docs.jsonl`, `queries.jsonl`, `qrels.tsv`.
Documents pass through the index function's own chunking into a real Typesense; a document counts by its best passage.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import machine, table
from functions.index_document.documents import chunks
from functions.search.memory import Memory
from functions.search.query import parse
from functions.search.retrieval import WINDOW, Wanted, find
from knts import events
from knts.clients.chunks import Chunks
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import SEARCHED, ChunkSearch
from knts.index import scope_filter
from knts.local.servers import Typesense as TypesenseChild
from knts.local.servers import started
from knts.lookup import Scope
from knts.settings import TypesenseServer

DATA = Path(os.environ.get("KNTS_DATA", "../shared/data"))
COLLECTIONS = ("cranfield", "cacm")
SCOPE = Scope("bench")
MEMORY = 64 * 2**20  # bytes: the search function's default

Ranking = Callable[[str], Awaitable[Sequence[str]]]  # document ids for a question, best first; some more than once


class EverythingIsCurrent:
    """Stands for the records: nothing is replaced while we measure."""

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(ids, 1)


@dataclass(frozen=True)
class Collection:
    """Judged questions over documents; grades by question and document."""

    name: str
    documents: Sequence[Mapping[str, Any]]
    questions: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]


def read(name: str) -> Collection | None:
    """The collection, with those questions alone that a document answers; None where its files are missing."""
    folder = DATA / "ir" / name
    if not folder.is_dir():
        return None
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        question, document, grade = line.split("\t")[:3]
        if int(grade) > 0:
            grades[question][document] = max(int(grade), grades[question].get(document, 0))
    asked = {each["id"]: each["text"] for each in _lines(folder / "queries.jsonl")}
    judged = {question: text for question, text in asked.items() if question in grades}
    return Collection(name, _lines(folder / "docs.jsonl"), judged, grades)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain of the first documents."""
    gains = [grades.get(document, 0) / math.log2(place + 2) for place, document in enumerate(ranked[:depth])]
    best = sorted(grades.values(), reverse=True)[:depth]
    return sum(gains) / sum(grade / math.log2(place + 2) for place, grade in enumerate(best))


def recall(ranked: Sequence[str], grades: Mapping[str, int], depth: int = 100) -> float:
    """The share of the answering documents among the first ones."""
    return len(set(ranked[:depth]) & set(grades)) / len(grades)


async def index(typesense: Typesense, collection: Collection) -> int:
    """Write all documents; the number of chunks."""
    lines: list[bytes] = []
    for document in collection.documents:
        data = {"id": document["id"], "version": 1, "title": document["title"], "text": document["text"]}
        lines += chunks(events.new_event(events.DOCUMENT_UPSERTED, "/bench", data, tenant=SCOPE.tenant))
    refused = [reason for reason in await Chunks(typesense).add(lines) if reason]
    if refused:
        raise SystemExit(f"{collection.name}: {len(refused)} chunks were refused: {refused[0]}")
    return len(lines)


def ours(typesense: Typesense) -> Ranking:
    """The search function's way, with a memory that is empty at first, as after a start."""
    search = Memory(ChunkSearch(typesense), MEMORY).at("nothing is written meanwhile")

    async def ranking(question: str) -> list[str]:
        page = await find(search, EverythingIsCurrent(), SCOPE, parse(question), Wanted(limit=WINDOW))
        return [each.chunk.document_id for each in page.hits]

    return ranking


def plain(typesense: Typesense, **options: Any) -> Ranking:
    """Typesense's own ranking of the question as it stands."""
    search = {
        "collection": typesense.server.collection,
        "query_by": SEARCHED,
        "filter_by": scope_filter(SCOPE.tenant, SCOPE.groups),
        "per_page": WINDOW,
        "include_fields": "document_id",
        **options,
    }

    async def ranking(question: str) -> list[str]:
        reply = await typesense.request("POST", "/multi_search", json={"searches": [{**search, "q": question}]})
        return [hit["document"]["document_id"] for hit in reply["results"][0]["hits"]]

    return ranking


async def measured(collection: Collection, ranking: Ranking) -> tuple[float, float, float]:
    """Mean nDCG@10, mean Recall@100 and the median of milliseconds a question, asked one at a time."""
    gains, recalls, times = [], [], []
    for question, text in collection.questions.items():
        began = time.perf_counter()
        ranked = list(dict.fromkeys(await ranking(text)))
        times.append((time.perf_counter() - began) * 1000)
        gains.append(ndcg(ranked, collection.grades[question]))
        recalls.append(recall(ranked, collection.grades[question]))
    return statistics.mean(gains), statistics.mean(recalls), statistics.median(times)


async def compare(server: TypesenseServer, collection: Collection) -> list[tuple[Any, ...]]:
    """The rows of one collection."""
    async with Typesense(server) as typesense:
        passages = await index(typesense, collection)
        name = f"{collection.name} ({len(collection.questions)} questions, {passages} passages)"
        ways = {
            "Typesense, the question as it stands": plain(typesense),
            "Typesense, dropping words until 200 are found": plain(
                typesense, num_typos=0, prefix="false", drop_tokens_threshold=200
            ),
            "kn-ts": ours(typesense),
        }
        rows = []
        for way, ranking in ways.items():
            gain, found, median = await measured(collection, ranking)
            rows.append((name, way, f"{gain:.3f}", f"{found:.3f}", f"{median:.0f}"))
        return rows


def main() -> None:
    """Measure the collections that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collections", nargs="*", default=COLLECTIONS)
    names = parser.parse_args().collections
    there = {name: found for name in names if (found := read(name))}
    for name in set(names) - set(there):
        print(f"{name}: skipped, {DATA / 'ir' / name} is missing (KNTS_DATA names the folder)")
    if not there:
        return
    with tempfile.TemporaryDirectory() as home:
        child = TypesenseChild(Path(home, "data"), Path(home, "log"), "bench")
        process = started(child)
        try:
            rows = []
            for name, collection in there.items():
                server = TypesenseServer(url=child.url, api_key="bench", collection=f"bench_{name}")
                rows += asyncio.run(compare(server, collection))
        finally:
            process.stop()
    print(machine())
    print(table(("collection", "way", "nDCG@10", "Recall@100", "ms, median"), rows))


if __name__ == "__main__":
    main()
