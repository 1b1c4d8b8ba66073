"""`python -m bench.conversations`: whether search finds what a follow-up question is about.

The corpus (`bench/eval/conversations.jsonl`) is our own, over this repository's documents as a local run loads them. A
turn names the sections that answer it, and stands by itself in the words of `standalone`, which were written by hand.
Each question is asked as it stands (the floor), by the rule, by the packaged model's rewriting, and by hand (the
ceiling); it is found where one of the four passages that an answer is given comes from such a section. The turns before
it are those of the corpus; an answer is taken to cite those of these sections that its question finds when put by hand.

The rule was made by looking at the first half of the corpus alone.
"""

import argparse
import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.eval.judged import ROOT, lines
from bench.headlines import headline
from bench.intervals import share
from bench.local import Road, road
from bench.measure import table
from functions.search import passages
from functions.search.followups import Turn, leans, standalone
from functions.search.meaning import Meanings
from functions.search.memory import Memory
from functions.search.query import question as parsed
from functions.search.retrieval import Wanted, find
from functions.search.rewriting import ByModel
from knts.cli.extract import Refused
from knts.cli.files import Report, Wishes, body, documents, sources
from knts.clients.embedder import Embedder, EmbedServer
from knts.clients.ollama import Ollama
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.lookup import Scope
from knts.settings import OllamaServer, TypesenseServer

CORPUS = ROOT / "bench" / "eval" / "conversations.jsonl"
LOADED = "README.md,docs"  # as a local run loads them first
SCOPE = Scope("local")
MEMORY = 64 * 2**20
SECONDS = 300.0  # that loading and embedding may take
EMBED_SECONDS = 30.0  # that embedding a question may take: what is measured is not how busy the machine is
MODEL_SECONDS, CONTEXT = 60.0, 8192
MOST_BEFORE = 5  # turns that go along with a question, as ingress sends them
FIRST, SUBJECT = "open", "subject"  # the kinds of questions that lean on nothing
FLOOR, RULE, MODEL, CEILING = "as asked", "by rule", "by the model", "by hand"
HALVES = ("first", "second")

Found = list[dict[str, Any]]
Retrieve = Callable[[str], Awaitable[Found]]
Rewritten = Callable[[str, Sequence[Turn]], Awaitable[str]]


@dataclass(frozen=True)
class Question:
    """A turn of the corpus, its conversation's turns before it, and what each way made of it and found."""

    asked: str
    by_hand: str
    kind: str
    half: str
    wanted: Sequence[str]  # document#section, or a whole document
    before: Sequence["Question"]
    asks: dict[str, str] = field(default_factory=dict)  # by way
    hits: dict[str, bool] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)  # of what its answer cites

    @property
    def leans(self) -> bool:
        return self.kind not in (FIRST, SUBJECT)

    def answered_by(self, passage: Mapping[str, Any]) -> bool:
        """Whether a passage comes from one of the sections."""
        section = (passage["section"] or passage["title"]).split(" › ")[-1]
        return bool({passage["document_id"], f"{passage['document_id']}#{section}"} & set(self.wanted))

    def turns(self, way: str) -> list[Turn]:
        """What was asked before in this way."""
        return [{"question": each.asks[way], "titles": each.titles} for each in self.before[-MOST_BEFORE:]]


def corpus(there: set[str]) -> list[Question]:
    """The questions in their order. One that no section which is there answers any more is told and left out."""
    questions: list[Question] = []
    for conversation in lines(CORPUS):
        before: list[Question] = []
        for turn in conversation["turns"]:
            by_hand = turn.get("standalone", turn["question"])
            wanted = turn["wanted"]
            before.append(Question(turn["question"], by_hand, turn["kind"], conversation["half"], wanted, before[:]))
            if there.isdisjoint(wanted):
                print(f"conversations.jsonl: {', '.join(wanted)} is no longer there: {by_hand!r} is left out")
        questions += before
    return [each for each in questions if not there.isdisjoint(each.wanted)]


def sections(paths: Sequence[str]) -> set[str]:
    """The documents in these places and their sections, as `wanted` names them."""
    found: set[str] = set()
    for document in (each for source in sources(paths, Report()) for each in documents(source)):
        if isinstance(document, Refused):
            raise SystemExit(f"a document {document}")
        name, data = body(document, Wishes())
        titles = [data["title"], *(each["title"] for each in data.get("sections", ()))]
        found |= {name, *(f"{name}#{title.split(' › ')[-1]}" for title in titles)}
    return found


@contextlib.asynccontextmanager
async def searching(started: Road) -> AsyncIterator[Retrieve]:
    """The search function's way to an answer's passages, in this process, once all documents are embedded."""
    server = TypesenseServer(url=started.address("TYPESENSE_URL"), api_key=started.secret("typesense-key"))
    embed_server = EmbedServer(
        model=started.address("OLLAMA_EMBED_MODEL"), embed_url=started.address("OLLAMA_EMBED_URL")
    )
    async with (
        connected(started.address("REDIS_URL")) as redis,
        Typesense(server) as typesense,
        Embedder(embed_server) as embedder,
    ):
        records, waiting = Records(redis), Unembedded(redis, server.collection)
        names = {name for name in sections(LOADED.split(",")) if "#" not in name}
        async with asyncio.timeout(SECONDS):
            while len(await records.current(SCOPE.tenant, sorted(names))) < len(names) or await waiting.count():  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        meanings = Meanings(Vectors(typesense), embedder, EMBED_SECONDS)
        index = Memory(ChunkSearch(typesense), MEMORY, meanings=meanings).at("nothing is written meanwhile")

        async def retrieve(asked: str) -> Found:
            wanted = Wanted(limit=passages.CANDIDATES)
            page = await find(index, records, SCOPE, parsed(asked), wanted, loosely=True)
            return [passages.passage(each) for each in passages.choose(page.hits, passages.DEFAULT)]

        yield retrieve


async def measure(questions: Iterable[Question], retrieve: Retrieve, by_model: Rewritten | None) -> None:
    """Ask each question in each way."""
    for each in questions:
        found = await retrieve(each.by_hand)
        each.titles.extend(dict.fromkeys(passage["title"] for passage in found if each.answered_by(passage)))
        each.asks.update({FLOOR: each.asked, CEILING: each.by_hand})
        each.asks[RULE] = standalone(each.asked, each.turns(RULE))
        if by_model:
            each.asks[MODEL] = await by_model(each.asked, each.turns(MODEL))
        for way, asked in each.asks.items():
            each.hits[way] = any(map(each.answered_by, found if way == CEILING else await retrieve(asked)))


def report(questions: Sequence[Question], ways: Sequence[str]) -> None:
    """Print what was found, by half and kind, and how well it is told what leans."""
    rows = []
    for half in HALVES:
        mine = [each for each in questions if each.half == half]
        follow = [each for each in mine if each.leans]
        groups = {"follow-ups that lean": follow}
        groups |= {f"… {kind}": [each for each in follow if each.kind == kind] for kind in _kinds(follow)}
        groups["another subject"] = [each for each in mine if each.kind == SUBJECT]
        for name, every in groups.items():
            rows.append((half, name, *(share(each.hits[way] for each in every) for way in ways)))
        headline("conversations", f"{half} half: follow-ups found, by rule", share(each.hits[RULE] for each in follow))
    print(table(("half", "questions", *ways), rows))
    if MODEL in ways:
        followed = [each for each in questions if each.before]
        own = sum(each.asks[MODEL] != standalone(each.asked, each.turns(MODEL)) for each in followed)
        print(
            f"\nOf the model's rewritings, {own} of {len(followed)} were taken; for all others the rule's were asked."
        )
    print("\nWhat the rule takes for leaning:\n")
    told_apart = [
        (
            half,
            share(leans(each.asked) for each in questions if each.half == half and each.leans),
            share(leans(each.asked) for each in questions if each.half == half and each.kind == SUBJECT),
            share(leans(each.asked) for each in questions if each.half == half and each.kind == FIRST),
        )
        for half in HALVES
    ]
    print(table(("half", "of those that lean", "of another subject", "of first questions"), told_apart))


def _kinds(questions: Iterable[Question]) -> list[str]:
    return [kind for kind, _ in Counter(each.kind for each in questions).most_common()]


async def main() -> None:
    """Measure over a local run of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    questions = corpus(sections(LOADED.split(",")))
    with road(KNTS_EMBEDDINGS="packaged", KNTS_FIRST_DOCUMENTS=LOADED) as started:
        ollama = OllamaServer(url=started.address("OLLAMA_URL"), model=started.model)
        async with searching(started) as retrieve, Ollama(ollama) as models:
            rewritten = ByModel(models, Unhurried(), MODEL_SECONDS, CONTEXT)
            await measure(questions, retrieve, rewritten)
    report(questions, (FLOOR, RULE, MODEL, CEILING))


class Unhurried:
    """Stands for the model's line: nobody else asks."""

    @contextlib.asynccontextmanager
    async def spare(self, model: str, seconds: float) -> AsyncIterator[bool]:
        """A slot."""
        yield True


if __name__ == "__main__":
    asyncio.run(main())
