"""`python -m bench.answers`: what a person gets who asks with the packaged model: answers, citations, abstentions.

Prompt, model, guard and citations are llm-answer's own, with the limits that the local run gives the packaged model;
only Redis and the Broker are left out. Greedy decoding: the same questions give the same figures. `--keep FILE` writes
every answer down, and `--from FILE` cites those anew without asking the model.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.asked import DATA, Asked, own, right, squad
from bench.measure import machine, table
from functions.llm_answer import abstention, prompt
from functions.llm_answer.citations import tie
from functions.llm_answer.guard import Guard
from knts.answer_keys import PROMPT_VERSION
from knts.citations import holds
from knts.clients.ollama import Done, Ollama
from knts.local.model import NAME
from knts.local.plan import SMALL_MODEL
from knts.local.servers import PackagedModel, started
from knts.settings import OllamaServer

BUDGET = prompt.Budget(8192, int(SMALL_MODEL["KNTS_PROMPT_TOKENS"]), int(SMALL_MODEL["KNTS_ANSWER_TOKENS"]))
IMITATES = re.compile(r"(?m)^\s*(?:\[\d+\]\s|(?:Question|Passages?|Answer)\b.{0,3}:|Copy the words)|Question:")
KINDS = ("answerable", "our own", "unanswerable")


@dataclass(frozen=True)
class Answered:
    """What became of a question. Tokens and seconds are 0 where no model was asked."""

    question: str
    answer: str
    abstained: bool
    first: float = 0.0
    total: float = 0.0
    read: int = 0
    written: int = 0
    citations: tuple[dict[str, Any], ...] = ()


async def answered(ollama: Ollama, asked: Asked) -> Answered:
    """The answer, as llm-answer writes it."""
    if abstention.before(asked.question, asked.passages):
        return Answered(asked.question, "", abstained=True)
    model = await ollama.model()
    made = prompt.compose(asked.question, asked.passages, {}, model.context, BUDGET)
    guard, began, first, pieces, end = Guard(made.marks, BUDGET.answer), time.perf_counter(), 0.0, 0, Done("stop", 0, 0)
    async with aclosing(ollama.chat(model.name, made.messages, made.options)) as stream:
        async for piece in stream:
            if isinstance(piece, Done):
                end = piece
                break
            guard.feed(piece)
            pieces += 1
            first = first or (time.perf_counter() - began if guard.shown else 0.0)
            if guard.stopped:
                break
    total = time.perf_counter() - began
    text = guard.end(cut=end.reason == "length")
    read = end.prompt_tokens or sum(len(message["content"]) for message in made.messages) // 4
    abstained = not text or abstention.after(text) is not None
    return Answered(asked.question, text, abstained, first, total, read, pieces)


def cited(asked: Asked, given: Answered) -> Answered:
    """The answer with its citations."""
    if given.abstained:
        return given
    shown = prompt.compose(asked.question, asked.passages, {}, 8192, BUDGET).shown
    return replace(given, citations=tuple(tie(given.answer, shown, asked.question).citations))


def repeats(answer: str) -> bool:
    """Whether an answer says the same four words three times."""
    said = re.findall(r"\w+", answer.casefold())
    runs = [tuple(said[at : at + 4]) for at in range(len(said) - 3)]
    return any(runs.count(run) >= 3 for run in runs)


def holding(asked: Asked, citation: dict[str, Any]) -> bool:
    """Whether a citation is true of one of the passages."""
    return any(
        passage["document_id"] == citation["document_id"] and holds(citation, " " * passage["start"] + passage["text"])
        for passage in asked.passages
    )


def row(kind: str, every: Sequence[tuple[Asked, Answered]]) -> Iterator[str]:
    """The figures of one kind of question."""
    told = [(asked, given) for asked, given in every if not given.abstained]
    quotes = [(asked, each) for asked, given in told for each in given.citations]
    yield f"{kind} ({len(every)})"
    yield _share(right(given.answer, asked.gold) for asked, given in every) if every[0][0].gold else "–"
    yield _share(given.abstained for _, given in every)
    yield _share(
        bool(given.citations) and all(holding(asked, each) for each in given.citations) for asked, given in told
    )
    yield _share(right(each["quote"], asked.gold) for asked, each in quotes) if every[0][0].gold else "–"
    yield _share(
        any(right(each["quote"], asked.gold) for each in given.citations)
        for asked, given in told
        if right(given.answer, asked.gold)
    )
    yield _share(bool(given.citations) for asked, given in told if not right(given.answer, asked.gold))
    yield f"{statistics.mean(len(given.citations) for _, given in told):.1f}" if told else "–"
    yield _share(bool(IMITATES.search(given.answer)) or repeats(given.answer) for _, given in told)
    yield _two(statistics.mean, ".0f", [(given.read, given.written) for _, given in told])
    yield _two(statistics.median, ".1f", [(given.first, given.total) for _, given in told])


HEAD = (
    "questions",
    "answer right",
    "abstained",
    "of the answered: cited, all hold",
    "quotes with a right answer",
    "of the right: cited by it",
    "of the wrong: cited",
    "citations",
    "imitates or repeats",
    "tokens read / written",
    "s to the first word / in all",
)


def _two(of: Callable[[list[float]], float], form: str, pairs: Sequence[tuple[float, float]]) -> str:
    return " / ".join(format(of(list(each)), form) for each in zip(*pairs, strict=True)) if pairs else "–"


def _share(true: Iterator[bool]) -> str:
    every = list(true)
    return f"{100 * sum(every) / len(every):.0f} %" if every else "–"


async def generated(questions: Sequence[Asked]) -> AsyncIterator[Answered]:
    """An answer to each, one after the other."""
    with tempfile.TemporaryDirectory() as home:
        server = PackagedModel(Path(home, "lib"), Path(home, "log"))
        process = started(server)
        try:
            async with Ollama(OllamaServer(url=server.url, model=NAME)) as ollama:
                for asked in questions:
                    yield await answered(ollama, asked)
        finally:
            process.stop()


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answerable", type=int, default=40)
    parser.add_argument("--unanswerable", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--from", type=Path, dest="kept")
    wanted = parser.parse_args()
    if not (DATA / "qa").is_dir():
        print(f"bench.answers: skipped, {DATA / 'qa'} is missing (KNTS_DATA names the folder)")
        return
    questions = [*squad(wanted.answerable, wanted.unanswerable), *own()]
    if wanted.kept:
        given = [Answered(**each) for each in json.loads(wanted.kept.read_text())]
    else:
        given = [each async for each in generated(questions)]
    pairs = [(asked, cited(asked, each)) for asked, each in zip(questions, given, strict=True)]
    if wanted.keep:
        wanted.keep.write_text(json.dumps([asdict(each) for _, each in pairs], indent=1, ensure_ascii=False))
    print(f"{machine()}; {NAME}, prompt {PROMPT_VERSION}\n")
    rows = [tuple(row(kind, every)) for kind in KINDS if (every := [pair for pair in pairs if pair[0].kind == kind])]
    print(table(("", *(each[0] for each in rows)), list(zip(HEAD[1:], *(each[1:] for each in rows), strict=True))))


if __name__ == "__main__":
    asyncio.run(main())
