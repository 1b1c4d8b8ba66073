"""`python -m bench.abstention`: whether what is decided before the first word is right, at every threshold.

Each question comes with the passages that the search function finds for it in a real Typesense, by words and by the
packaged embedding model. Two collections:

- **SQuAD 2** (`KNTS_DATA`; left out where it is missing): answerable questions; unanswerable ones, which were written
  to look as if their passage held the answer; and the answerable ones again over the half of the articles that theirs
  is not among.
- **Our own** (`bench/eval/handbook.jsonl`, an invented firm's handbook and beginnings of books whose copyright is over,
  among this repository's documents): paraphrases, which share next to no word with the passage that answers them;
  questions off the topic of all documents; questions beside it, which a document could answer and does not.

With `--sets` judged collections of `KNTS_DATA/ir` come besides: each with its own questions and those of the others.
With `--reader MODEL` a model judges as well what is not refused already, as `KNTS_READER` would let it.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.eval import judged
from bench.eval.judged import DATA, HANDBOOK, lines, own
from bench.headlines import headline
from bench.intervals import share
from bench.measure import table
from bench.reading import FOUND, MADE_UP, NO_VERDICT, NOT_FOUND, verdicts
from functions.index_document.documents import chunks
from functions.llm_answer.abstention import LEAST_BY_MEANING, LEAST_BY_WORDS, Signals, before, signals
from functions.search import passages
from functions.search.meaning import Meanings
from functions.search.memory import Memory
from functions.search.query import question
from functions.search.retrieval import Wanted, find
from knts import events
from knts.clients.chunks import Chunks
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.clients.vectors import Passage, Vectors
from knts.embeddings import Model
from knts.local.model.minilm import DIMENSION, NAME, MiniLM
from knts.local.servers import Typesense as TypesenseChild
from knts.local.servers import started
from knts.lookup import Scope
from knts.settings import TypesenseServer

ANSWERABLE, UNANSWERABLE, ELSEWHERE = "answerable", "unanswerable", "about other documents"
PARAPHRASES, LOST, OFF_TOPIC, BESIDE = (
    "paraphrases",
    "paraphrases whose passage is not found",
    "off topic",
    "beside the topic",
)
AIMS = {ANSWERABLE: "≤ 5 %", UNANSWERABLE: "≥ 80 %"}
GOOD, TOGETHER = (ANSWERABLE, PARAPHRASES), "answerable and paraphrases"
AGAINST = (UNANSWERABLE, ELSEWHERE, OFF_TOPIC, BESIDE)
REFUSED = 0.05  # of the answerable that may be refused at most
FOLDS, SEED = 5, 20261
SCOPE, MEMORY, MODEL = Scope("bench"), 64 * 2**20, Model(NAME, DIMENSION)
SIGNALS: Mapping[str, Callable[[Signals], float]] = {
    "coverage": lambda each: each.coverage,
    "names": lambda each: 0.5 if each.names is None else each.names,
    "denied": lambda each: -float(each.denied),
    "words: coverage and names": lambda each: replace(each, likeness=None).trust,
    "likeness": lambda each: each.likeness or 0.0,
    "trust: likeness and words": lambda each: each.trust,
}


@dataclass(frozen=True)
class Question:
    """A question and what search found for it."""

    text: str
    passages: list[dict[str, Any]]

    @property
    def signals(self) -> Signals:
        return signals(self.text, self.passages) or Signals(1.0, None, denied=False, likeness=1.0)

    @property
    def refused(self) -> bool:
        return before(self.text, self.passages) is not None

    @property
    def refused_by_words(self) -> bool:
        """What happens where nothing embeds."""
        known = [{name: value for name, value in each.items() if name != "likeness"} for each in self.passages]
        return before(self.text, [{**each, "embedded_by": ""} for each in known]) is not None


class Current:
    """Stands for the records: nothing is replaced while we measure."""

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(ids, 1)


class InProcess:
    """Embeds in this process by the packaged model; a text that was embedded before is known."""

    def __init__(self) -> None:
        self.model = MiniLM()
        self.known: dict[str, list[float]] = {}

    async def embed(self, model: str, texts: Sequence[str], seconds: float | None = None) -> list[list[float]]:
        for text in texts:
            if text not in self.known:
                self.known[text] = self.model.embed(text)[0]
        return [self.known[text] for text in texts]


@dataclass(frozen=True)
class Library:
    """A collection of documents in Typesense, with their embeddings."""

    server: TypesenseChild
    embedder: InProcess
    name: str

    async def load(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write documents as index-document does."""
        written: list[bytes] = []
        for each in documents:
            data = {"id": each["id"], "version": 1, "title": each["title"].replace("_", " "), "text": each["text"]}
            written += chunks(events.new_event(events.DOCUMENT_UPSERTED, "/bench", data, tenant=SCOPE.tenant))
        async with Typesense(self._server) as typesense:
            if refused := [reason for reason in await Chunks(typesense).add(written) if reason]:
                raise SystemExit(f"{self.name}: {len(refused)} chunks were refused: {refused[0]}")
            cut = [Passage(json.loads(line)) for line in written]
            made = await self.embedder.embed(NAME, [each.text for each in cut])
            await Vectors(typesense).add(MODEL, zip(cut, made, strict=True))

    async def ask(self, texts: Iterable[str]) -> list[Question]:
        """The questions with the passages that search finds."""
        async with Typesense(self._server) as typesense:
            meanings = Meanings(Vectors(typesense), self.embedder, seconds=60.0)
            search = Memory(ChunkSearch(typesense), MEMORY, meanings=meanings).at("nothing is written meanwhile")
            asked = []
            for text in texts:
                wanted = Wanted(limit=passages.CANDIDATES)
                page = await find(search, Current(), SCOPE, question(text), wanted, loosely=True)
                chosen = passages.choose(page.hits, passages.DEFAULT)
                asked.append(Question(text, [passages.passage(each) for each in chosen]))
            return asked

    @property
    def _server(self) -> TypesenseServer:
        return TypesenseServer(url=self.server.url, api_key="bench", collection=self.name)


async def everything(server: TypesenseChild, sets: Sequence[str]) -> dict[str, list[Question]]:
    """The questions of each kind."""
    embedder = InProcess()
    found = await ours(server, embedder) | await others(server, embedder, sets)
    if (DATA / "qa").is_dir():
        return await squad(server, embedder) | found
    print(f"SQuAD is left out: {DATA / 'qa'} is missing (KNTS_DATA names the folder)\n")
    return found


async def ours(server: TypesenseChild, embedder: InProcess) -> dict[str, list[Question]]:
    """Our own kinds. Where search does not find the passage of a paraphrase, to refuse is right."""
    library = Library(server, embedder, "own")
    await library.load([*own().documents, *lines(HANDBOOK)])
    rows = lines(judged.PARAPHRASES)
    asked = dict(zip([each["question"] for each in rows], await library.ask(r["question"] for r in rows), strict=True))
    found: dict[str, list[Question]] = {PARAPHRASES: [], LOST: [], OFF_TOPIC: [], BESIDE: []}
    for row in rows:
        one = asked[row["question"]]
        shown = any(each["document_id"] == row.get("document") for each in one.passages)
        found[row.get("kind") or (PARAPHRASES if shown else LOST)].append(one)
    return found


async def others(server: TypesenseChild, embedder: InProcess, names: Sequence[str]) -> dict[str, list[Question]]:
    """The questions of judged collections, and of each the questions of the others."""
    there = {name: collection for name in names if (collection := judged.read(name))}
    found: dict[str, list[Question]] = {}
    for name, collection in there.items():
        library = Library(server, embedder, name)
        await library.load(collection.documents)
        found[f"{name}: its own"] = await library.ask(collection.questions.values())
        foreign = [text for other in there.values() if other is not collection for text in other.questions.values()]
        found[f"{name}: of others"] = await library.ask(foreign)
    return found


async def squad(server: TypesenseChild, embedder: InProcess) -> dict[str, list[Question]]:
    """SQuAD's kinds."""
    rows, documents = lines(DATA / "qa/squad2_dev300.jsonl"), lines(DATA / "qa/squad2_passages.jsonl")
    article = {each["id"]: each["title"] for each in documents}
    titles = sorted(set(article.values()))
    able, unable = ([row for row in rows if row["answerable"] == kind] for kind in (True, False))
    library = Library(server, embedder, "all")
    await library.load(documents)
    found = {
        ANSWERABLE: await library.ask(row["question"] for row in able),
        UNANSWERABLE: await library.ask(row["question"] for row in unable),
        ELSEWHERE: [],
    }
    for number, half in enumerate((set(titles[::2]), set(titles[1::2]))):
        library = Library(server, embedder, f"half{number}")
        await library.load(each for each in documents if each["title"] in half)
        found[ELSEWHERE] += await library.ask(row["question"] for row in able if article[row["passage_id"]] not in half)
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


def report(found: Mapping[str, Sequence[Question]]) -> None:
    """Print the tables."""
    told = {kind: [each.signals for each in every] for kind, every in found.items()}
    head = ("questions", "abstained (95 %)", "the same passages judged by words alone")
    rows = [
        (kind, share(each.refused for each in every), share(each.refused_by_words for each in every))
        for kind, every in found.items()
    ]
    for kind, abstained, _ in rows:
        headline("abstention", f"{kind}: abstained", abstained, AIMS.get(kind, ""))
    print(f"As set: abstained when trust < {LEAST_BY_MEANING} ({LEAST_BY_WORDS} by words alone), or what is asked for")
    print(f"is denied\n\n{table(head, rows)}")
    together = {TOGETHER: [each for kind in GOOD for each in told.get(kind, ())]} | told
    for kind in (TOGETHER, *GOOD):
        if kind in together:
            against = [other for other in told if other in AGAINST]
            print(f"\nBy signal, {kind} against the others: area under the curve; abstained at {100 * REFUSED:.0f} %")
            print(f"refused, {FOLDS} folds\n")
            print(table(("signal", *against), list(_by_signal(together, kind, against))))
    print("\nThe whole curve, by trust: abstained\n")
    curve = [(f"< {step / 20:.2f}", *_below(told, step / 20)) for step in range(1, 15)]
    print(table(("trust", *told), curve))


def _by_signal(told: Mapping[str, Sequence[Signals]], kind: str, against: Sequence[str]) -> Iterator[list[str]]:
    for name, of in SIGNALS.items():
        good, cells = [of(each) for each in told[kind]], [name]
        for other in against:
            bad = [of(each) for each in told[other]]
            refused, abstained = crossed(good, bad)
            cells.append(f"{area(good, bad):.2f}; {share(abstained)} at {100 * sum(refused) / len(refused):.1f} %")
        yield cells


def _below(told: Mapping[str, Sequence[Signals]], least: float) -> Iterator[str]:
    for every in told.values():
        yield share(each.trust < least for each in every)


def by_reader(found: Mapping[str, Sequence[Question]], model: str, most: int) -> None:
    """Let a model judge the first `most` questions of each kind that are not refused, and print what it adds."""
    asked = {kind: [each for each in every if not each.refused][:most] for kind, every in found.items() if kind != LOST}
    told = asyncio.run(
        verdicts({k: [(each.text, each.passages) for each in every] for k, every in asked.items()}, model)
    )
    print(f"\nBy the reader {model}, of what is not refused already\n")
    outcomes = (FOUND, NOT_FOUND, MADE_UP, NO_VERDICT)
    rows = [
        (
            kind,
            share(each.outcome in (NOT_FOUND, MADE_UP) for each in every),
            *(sum(each.outcome == outcome for each in every) for outcome in outcomes),
            f"{statistics.median(each.seconds for each in every):.1f}" if every else "–",
        )
        for kind, every in told.items()
    ]
    print(table(("questions", "abstained besides (95 %)", *outcomes, "s, median"), rows))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", metavar="MODEL", help="a model of OLLAMA_URL, or of the packaged server without it")
    parser.add_argument("--most", type=int, default=150, help="questions of each kind that the reader is asked")
    parser.add_argument("--sets", nargs="*", default=(), metavar="SET", help="judged collections, such as cranfield")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        child = TypesenseChild(Path(home, "data"), Path(home, "log"), "bench")
        process = started(child)
        try:
            found = asyncio.run(everything(child, arguments.sets))
        finally:
            process.stop()
    report(found)
    if arguments.reader:
        by_reader(found, arguments.reader, arguments.most)


if __name__ == "__main__":
    main()
