"""`python -m bench.abstention`: whether what is decided before the first word is right, at every threshold.

Three kinds of questions from SQuAD 2 (`KNTS_DATA`), each with the passages that the search function finds for it in a
real Typesense: answerable ones; unanswerable ones, which were written to look as if their passage held the answer; and
the answerable ones again over the half of the articles that theirs is not among.
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.headlines import headline
from bench.intervals import share
from bench.measure import table
from bench.retrieval import DATA, MEMORY, SCOPE, Collection, EverythingIsCurrent, index
from functions.llm_answer.abstention import LEAST, Signals, before, signals
from functions.search import passages
from functions.search.memory import Memory
from functions.search.query import question
from functions.search.retrieval import Wanted, find
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.local.servers import Typesense as TypesenseChild
from knts.local.servers import started
from knts.settings import TypesenseServer

ANSWERABLE, UNANSWERABLE, ELSEWHERE = "answerable", "unanswerable", "about other documents"
REFUSED = 0.05  # of the answerable that may be refused at most
FOLDS, SEED = 5, 20261
BY: dict[str, Callable[[Signals], float]] = {
    "coverage": lambda each: each.coverage,
    "names": lambda each: 0.5 if each.names is None else each.names,
    "denied": lambda each: -float(each.denied),
    "trust (coverage and names)": lambda each: each.trust,
}


@dataclass(frozen=True)
class Question:
    """A question and what search found for it."""

    text: str
    passages: list[dict[str, Any]]

    @property
    def signals(self) -> Signals:
        return signals(self.text, self.passages) or Signals(1.0, None, denied=False)


async def asked(server: TypesenseChild) -> dict[str, list[Question]]:
    """The questions of each kind."""
    rows = [json.loads(line) for line in (DATA / "qa/squad2_dev300.jsonl").read_text().splitlines()]
    documents = [json.loads(line) for line in (DATA / "qa/squad2_passages.jsonl").read_text().splitlines()]
    article = {each["id"]: each["title"] for each in documents}
    titles = sorted(set(article.values()))
    halves = (set(titles[::2]), set(titles[1::2]))
    able, unable = ([row for row in rows if row["answerable"] == kind] for kind in (True, False))
    found: dict[str, list[Question]] = {}
    found[ANSWERABLE] = await _found(server, "all", documents, able)
    found[UNANSWERABLE] = await _found(server, "all", (), unable)
    found[ELSEWHERE] = []
    for number, half in enumerate(halves):
        there = [each for each in documents if each["title"] in half]
        others = [row for row in able if article[row["passage_id"]] not in half]
        found[ELSEWHERE] += await _found(server, f"half{number}", there, others)
    return found


async def _found(
    server: TypesenseChild, name: str, documents: Sequence[dict[str, Any]], rows: Iterable[dict[str, Any]]
) -> list[Question]:
    async with Typesense(TypesenseServer(url=server.url, api_key="bench", collection=name)) as typesense:
        if documents:
            named = [{**each, "title": each["title"].replace("_", " ")} for each in documents]
            await index(typesense, Collection(name, named, {}, {}))
        search = Memory(ChunkSearch(typesense), MEMORY).at("nothing is written meanwhile")
        found = []
        for row in rows:
            wanted = Wanted(limit=passages.CANDIDATES)
            asking = question(row["question"])
            page = await find(search, EverythingIsCurrent(), SCOPE, asking, wanted, loosely=True)
            chosen = passages.choose(page.hits, passages.DEFAULT)
            found.append(Question(row["question"], [passages.passage(each) for each in chosen]))
        return found


def area(good: Sequence[float], bad: Sequence[float]) -> float:
    """How often an answerable question has more of a signal than one that is not; half where they are equal."""
    wins = sum((one > other) + 0.5 * (one == other) for one in good for other in bad)
    return wins / (len(good) * len(bad))


def threshold(good: Sequence[float], refused: float = REFUSED) -> float:
    """The highest threshold below which no more than this share of the answerable lies."""
    return sorted(good)[int(refused * len(good))]


def crossed(good: Sequence[float], bad: Sequence[float]) -> tuple[list[bool], list[bool]]:
    """Refused and abstained, each question judged by a threshold that was chosen without it."""
    chance = random.Random(SEED)
    mine, theirs = (chance.sample(range(len(each)), len(each)) for each in (good, bad))
    refused, abstained = [], []
    for fold in range(FOLDS):
        least = threshold([good[at] for place, at in enumerate(mine) if place % FOLDS != fold])
        refused += [good[at] < least for place, at in enumerate(mine) if place % FOLDS == fold]
        abstained += [bad[at] < least for place, at in enumerate(theirs) if place % FOLDS == fold]
    return refused, abstained


def report(found: dict[str, list[Question]]) -> None:
    """Print the three tables."""
    told = {kind: [each.signals for each in every] for kind, every in found.items()}
    print(f"As set: abstained when trust < {LEAST}, or what is asked for is denied\n")
    rows = [
        (kind, share(before(each.text, each.passages) is not None for each in every)) for kind, every in found.items()
    ]
    for (kind, abstained), aim in zip(rows, ("≤ 5 %", "≥ 80 %", ""), strict=True):
        headline("abstention", f"{kind}: abstained", abstained, aim)
    print(table(("questions", "abstained (95 %)"), rows))
    print(f"\nBy signal: area under the curve; abstained at {100 * REFUSED:.0f} % refused, {FOLDS} folds\n")
    lines = []
    for name, of in BY.items():
        good = [of(each) for each in told[ANSWERABLE]]
        cells = [name]
        for kind in (UNANSWERABLE, ELSEWHERE):
            bad = [of(each) for each in told[kind]]
            refused, abstained = crossed(good, bad)
            cells += [f"{area(good, bad):.2f}", f"{share(abstained)} at {100 * sum(refused) / len(refused):.1f} %"]
        lines.append(cells)
    print(table(("signal", UNANSWERABLE, "abstained", ELSEWHERE, "abstained"), lines))
    print("\nThe whole curve, by trust\n")
    curve = []
    for step in range(1, 14):
        least = step / 20
        curve.append((f"{least:.2f}", *(share(each.trust < least for each in told[kind]) for kind in found)))
    print(table(("trust <", *(f"{kind}: abstained" for kind in found)), curve))


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not (DATA / "qa").is_dir():
        print(f"bench.abstention: skipped, {DATA / 'qa'} is missing (KNTS_DATA names the folder)")
        return
    with tempfile.TemporaryDirectory() as home:
        child = TypesenseChild(Path(home, "data"), Path(home, "log"), "bench")
        process = started(child)
        try:
            found = asyncio.run(asked(child))
        finally:
            process.stop()
    report(found)


if __name__ == "__main__":
    main()
