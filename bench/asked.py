"""The questions that `bench.answers` asks, each with the passages that it is answered from; the same in every run.

From `KNTS_DATA` (default `../shared/data`): SQuAD 2 questions over its paragraphs, and a dozen of our own over plays
and documentation. Passages are ranked by BM25 in memory, as a stand-in for search, and where that misses the paragraph
that holds the answer, it takes the last place: what is judged here is the answer, not the ranking.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.eval.judged import own as judgements
from functions.index_document.documents import chunks
from functions.llm_answer.text import stem, words
from knts import events
from knts.cli.files import Report, body, documents, sources
from knts.cli.files import Wishes as Nothing

DATA = Path(os.environ.get("KNTS_DATA", "../shared/data"))
PASSAGES = 3  # that a question is given
PLAYS = ("hamlet", "macbeth", "romeo_and_juliet")
OWN = (  # question, words of which one must be in the answer, what the passage says that holds it
    ("Who is the king of Denmark in Hamlet?", ("Claudius",), "CLAUDIUS, king of Denmark"),
    ("Who is Ophelia's father?", ("Polonius",), "OPHELIA, daughter to Polonius"),
    ("Where is Hamlet set?", ("Denmark", "Elsinore"), "SCENE Denmark"),
    ("What man would Hamlet wear in his heart's core?", ("not passion's slave", "passion's slave"), "heart's core"),
    ("Who is the king of Scotland in Macbeth?", ("Duncan",), "DUNCAN, king of Scotland"),
    ("Whose son is Romeo?", ("Montague",), "ROMEO, son to Montague"),
    ("How do I install the Knative CLI with Homebrew?", ("brew", "Homebrew"), "brew install"),
    ("On what schedule does a PingSource produce events?", ("cron", "minute"), "fixed payload on a specified"),
    ("Which autoscaler supports scale to zero?", ("KPA", "Knative Pod Autoscaler"), "* Supports scale to zero"),
    ("Which autoscaler supports CPU-based autoscaling?", ("HPA", "Horizontal Pod Autoscaler"), "* Supports CPU-based"),
    ("What is the Knative CLI called?", ("kn",), "Knative CLI - `kn`"),
    ("What schedule format does PingSource use?", ("cron",), "fixed payload on a specified"),
)


@dataclass(frozen=True)
class Asked:
    """A question, its passages (as `knts.passages.found.v1` holds them), and the answers of which one is right.

    None is when the passages do not hold the answer.
    """

    kind: str
    question: str
    passages: list[dict[str, Any]]
    gold: tuple[str, ...]


class Bm25:
    """Passages ranked by the words that they share with a question."""

    def __init__(self, passages: Sequence[dict[str, Any]]) -> None:
        self.passages = passages
        self.counts = [Counter(_stems(" ".join((each["title"], each["section"], each["text"])))) for each in passages]
        self.found = Counter(word for count in self.counts for word in count)
        self.mean = sum(count.total() for count in self.counts) / len(self.counts)

    def best(self, question: str, most: int = PASSAGES) -> list[dict[str, Any]]:
        """The best passages, best first."""
        asked = set(_stems(question))
        order = sorted(range(len(self.passages)), key=lambda at: (-self._score(asked, self.counts[at]), at))
        return [self.passages[at] for at in order[:most]]

    def _score(self, asked: set[str], count: Counter[str]) -> float:
        length = 1.2 * (0.25 + 0.75 * count.total() / self.mean)
        return sum(
            math.log(1 + len(self.passages) / self.found[word]) * 2.2 * count[word] / (count[word] + length)
            for word in asked & count.keys()
        )


def _stems(text: str) -> list[str]:
    return [stem(word.folded) for word in words(text) if word.informative]


def squad(answerable: int, unanswerable: int) -> Iterator[Asked]:
    """The first questions of each kind."""
    rows = _lines("qa/squad2_dev300.jsonl")
    passages = {each["id"]: _whole(each) for each in _lines("qa/squad2_passages.jsonl")}
    ranking = Bm25(list(passages.values()))
    for kind, count in ((True, answerable), (False, unanswerable)):
        for row in [each for each in rows if each["answerable"] == kind][:count]:
            shown = with_(passages[row["passage_id"]], ranking.best(row["question"]))
            yield Asked("answerable" if kind else "unanswerable", row["question"], shown, tuple(row["answers"]))


def own() -> Iterator[Asked]:
    """Our own questions over three plays and the documentation, cut as index-document cuts them."""
    files = [str(DATA / "shakespeare" / f"{play}_moby.xml") for play in PLAYS] + [str(DATA / "docs")]
    loaded = [one for source in sources(files, Report()) for one in documents(source)]
    ranking = Bm25([passage for document in loaded for passage in _cut(document)])
    for question, gold, where in OWN:
        holding = next(passage for passage in ranking.passages if where in passage["text"])
        yield Asked("our own", question, with_(holding, ranking.best(question)), gold)


def documented() -> Iterator[Asked]:
    """The sample over this repository's own documentation, for those who lack `KNTS_DATA`."""
    judged = judgements()
    cut = [passage for each in judged.documents for passage in passages_of(each["id"], each)]
    ranking = Bm25(cut)
    for number, question in judged.questions.items():
        document, holds = next(iter(judged.grades[number]))
        there = (each for each in cut if each["document_id"] == document and holds in " ".join(each["text"].split()))
        if holding := next(there, None):  # else a passage ends within the words
            yield Asked("own docs", question, with_(holding, ranking.best(question)), (holds,))


def with_(holding: dict[str, Any], passages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The passages with the one that holds the answer, in the last place where it was not among them."""
    return passages if holding in passages else [*passages[:-1], holding]


def right(answer: str, gold: Sequence[str]) -> bool:
    """Whether an answer holds one of the right ones, whatever its case and punctuation."""
    said = f" {_plain(answer)} "
    return any(f" {_plain(each)} " in said for each in gold)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    title = row["title"].replace("_", " ")
    place = {"version": 1, "chunk": 0, "start": 0, "end": len(row["text"]), "section": "", "url": None}
    return {"document_id": row["id"], "title": title, "text": row["text"], **place}


def _cut(document: Any) -> Iterator[dict[str, Any]]:
    document_id, data = body(document, Nothing())
    yield from passages_of(document_id, data)


def passages_of(document_id: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A document cut as index-document cuts it."""
    data = {**data, "id": document_id, "version": 1}
    for line in chunks(events.new_event(events.DOCUMENT_UPSERTED, "/bench", data, tenant="bench")):
        chunk = json.loads(line)
        named = {name: chunk.get(name) for name in ("document_id", "version", "chunk", "start", "end", "text", "url")}
        yield named | {"title": chunk.get("title", ""), "section": chunk.get("section", "")}


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines() if line.strip()]
