"""`python -m bench.neighbours`: how often a prompt holds the answer, by what is done with neighbouring passages.

Articles of SQuAD 2 (`KNTS_DATA`), each a document of its paragraphs, cut as index-document cuts them; its answerable
questions; chunks ranked by BM25 in memory, as a stand-in for search. Compared are the chosen chunks apart, joined where
they follow each other, and joined with neighbours fetched that were not found.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.asked import DATA, Bm25
from bench.headlines import headline
from bench.intervals import share
from bench.measure import table
from functions.index_document.documents import chunks
from functions.llm_answer.counting import tokens
from functions.llm_answer.prompt import QUESTION, Budget, compose
from functions.search.passages import CANDIDATES, DEFAULT, Passage, different, joined, passage
from functions.search.ranking import Ranked
from knts import events
from knts.lookup import Chunk
from knts.words import searchable

Place = tuple[str, int]  # document id, number of the chunk
BUDGETS = (260, 600, 1500)  # KNTS_PROMPT_TOKENS: of the packaged model, between, and by default
WAYS = ("apart", "joined", "joined, with the best one's neighbours", "joined, with every one's neighbours")


def articles() -> dict[Place, Chunk]:
    """The chunks of all articles."""
    paragraphs: defaultdict[str, list[str]] = defaultdict(list)
    for each in _rows("squad2_passages"):
        paragraphs[each["title"]].append(each["text"])
    every = {}
    for title, texts in paragraphs.items():
        data = {"id": title, "version": 1, "title": title.replace("_", " "), "text": "\n\n".join(texts)}
        for line in chunks(events.new_event(events.DOCUMENT_UPSERTED, "/bench", data, tenant="bench")):
            read = json.loads(line)
            plain = ("id", "document_id", "version", "title", "section", "text", "start", "end", "lead")
            more = {"words": searchable(read["text"]), "continues": read.get("continues", False)}
            every[title, read["chunk"]] = Chunk(number=read["chunk"], **{name: read[name] for name in plain}, **more)
    return every


def ways(hits: Sequence[Ranked], every: Mapping[Place, Chunk]) -> list[list[Passage]]:
    """The passages of a question in each of the ways."""
    chosen = different(hits, DEFAULT)
    apart = [Passage([each]) for each in chosen]
    return [apart, joined(chosen), joined(_wider(chosen, 1, every)), joined(_wider(chosen, DEFAULT, every))]


def _wider(chosen: Sequence[Ranked], best: int, every: Mapping[Place, Chunk]) -> list[Ranked]:
    """The chosen, and the neighbours of the best ones."""
    found = {(each.chunk.document_id, each.chunk.number): each for each in chosen}
    for each in chosen[:best]:
        for number in (each.chunk.number - 1, each.chunk.number + 1):
            place = each.chunk.document_id, number
            if place in every:
                found.setdefault(place, Ranked(every[place], 0.0))
    return list(found.values())


def holds(prompt: str, answers: Sequence[str]) -> bool:
    """Whether the passages of a prompt hold one of the answers word for word, whatever the case and white space."""
    shown = " ".join(prompt.rpartition(QUESTION)[0].casefold().split())
    return any(" ".join(each.casefold().split()) in shown for each in answers)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not (DATA / "qa").is_dir():
        print(f"bench.neighbours: skipped, {DATA / 'qa'} is missing (KNTS_DATA names the folder)")
        return
    every = articles()
    ranking = Bm25([{"title": each.title, "section": "", "text": each.text, "chunk": each} for each in every.values()])
    asked = []
    for row in _rows("squad2_dev300"):
        if row["answerable"]:
            best = ranking.best(row["question"], CANDIDATES)
            hits = [Ranked(each["chunk"], float(CANDIDATES - at)) for at, each in enumerate(best)]
            asked.append((row["question"], row["answers"], ways(hits, every)))
    together = sum(len(found[1]) < len(found[0]) for *_, found in asked)
    print(f"{len(asked)} questions over {len(every)} chunks; in {together} of them neighbours were found\n")
    rows = [(str(budget), way, *_row(asked, at, budget)) for budget in BUDGETS for at, way in enumerate(WAYS)]
    for budget, way, held, _ in rows:
        if way in WAYS[:2] and budget == str(BUDGETS[-1]):
            headline("passages", f"the prompt holds the answer, neighbours {way}", held)
    print(table(("KNTS_PROMPT_TOKENS", "passages", "the prompt holds the answer", "tokens, median"), rows))


def _row(asked: Sequence[tuple[str, Sequence[str], list[list[Passage]]]], way: int, budget: int) -> tuple[str, str]:
    held, sizes = [], []
    for question, answers, found in asked:
        made = compose(question, [passage(each) for each in found[way]], {}, 8192, Budget(8192, budget, 80))
        held.append(holds(made.messages[-1]["content"], answers))
        sizes.append(tokens(made.messages[-1]["content"]))
    return share(held), str(round(statistics.median(sizes)))


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "qa" / f"{name}.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main()
