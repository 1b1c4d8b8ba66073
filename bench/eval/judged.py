"""Judged questions: collections from `KNTS_DATA` (default `../shared/data`), and a sample over this repository's docs.

`KNTS_DATA/ir/<name>/` holds `docs.jsonl`, `queries.jsonl` and `qrels.tsv`; there a document counts by its best passage.
`KNTS_DATA/qa/` holds questions with the one passage that answers each; nothing was chosen by looking at these.
Of our own sample (`own.jsonl`) a line names a document and a few words: the passage that holds them is the answer.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("KNTS_DATA", ROOT.parent / "shared" / "data"))
OWN, ANSWERED = "own docs", "squad2"
HANDBOOK = Path(__file__).with_name("handbook.jsonl")  # documents of our own to ask paraphrases of
PARAPHRASES = Path(__file__).with_name("paraphrases.jsonl")
OWN_PLACES = ("README.md", "docs/*.md", "docs/decisions/*.md", "functions/*/README.md")

Hit = tuple[str, str]  # a passage that was found: its document's id, and its text


@dataclass(frozen=True)
class Judged:
    """Questions over documents; `grades` by question and answer, which is a document's id or words of one passage."""

    name: str
    documents: Sequence[Mapping[str, Any]]
    questions: Mapping[str, str]
    grades: Mapping[str, Mapping[Hit, int]]

    def found(self, question: str, hits: Iterable[Hit]) -> list[Hit]:
        """The hits as the answers that they are, in order; each answer once, what is none of them as it stands."""
        answers = self.grades[question]
        return list(dict.fromkeys(next((a for a in answers if _is(a, hit)), (hit[0], self._own(hit))) for hit in hits))

    def _own(self, hit: Hit) -> str:
        return hit[1] if self.name == OWN else ""  # elsewhere all passages of a document count as one


def _is(answer: Hit, hit: Hit) -> bool:
    return answer[0] == hit[0] and answer[1] in " ".join(hit[1].split())


def read(name: str) -> Judged | None:
    """The collection, with those questions alone that something answers; None where its files are missing."""
    if name == OWN:
        return own()
    return _answered() if name == ANSWERED else _collection(name)


def names() -> list[str]:
    """Our own sample and the collections that are there."""
    there = sorted(folder.name for folder in (DATA / "ir").glob("*") if (folder / "qrels.tsv").exists())
    return [OWN, *there, *([ANSWERED] if _questions().exists() else [])]


def _collection(name: str) -> Judged | None:
    folder = DATA / "ir" / name
    if not (folder / "qrels.tsv").exists():
        return None
    grades: defaultdict[str, dict[Hit, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        question, document, grade = line.split("\t")[:3]
        if int(grade) > 0:
            grades[question][document, ""] = max(int(grade), grades[question].get((document, ""), 0))
    asked = {each["id"]: each["text"] for each in lines(folder / "queries.jsonl")}
    judged = {question: text for question, text in asked.items() if question in grades}
    documents = [{name: each[name] for name in ("id", "title", "text")} for each in lines(folder / "docs.jsonl")]
    return Judged(name, documents, judged, grades)


def _questions() -> Path:
    return DATA / "qa" / "squad2_dev300.jsonl"


def _answered() -> Judged | None:
    if not _questions().exists():
        return None
    asked = [each for each in lines(_questions()) if each["answerable"]]
    documents = lines(_questions().with_name("squad2_passages.jsonl"))
    grades = {each["id"]: {(each["passage_id"], ""): 1} for each in asked}
    return Judged(ANSWERED, documents, {each["id"]: each["question"] for each in asked}, grades)


def own() -> Judged:
    """The sample over this repository's documentation. A question whose words are no longer there is left out."""
    paths = sorted(path for place in OWN_PLACES for path in ROOT.glob(place))
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    documents = [{"id": name, "title": text.splitlines()[0].lstrip("# "), "text": text} for name, text in texts.items()]
    questions, grades = {}, {}
    for number, each in enumerate(lines(Path(__file__).with_name("own.jsonl"))):
        if each["holds"] in " ".join(texts.get(each["document"], "").split()):
            questions[str(number)] = each["question"]
            grades[str(number)] = {(each["document"], each["holds"]): 1}
        else:
            print(f"own.jsonl: {each['document']} no longer holds {each['holds']!r}: the question is left out")
    return Judged(OWN, documents, questions, grades)


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def ndcg(ranked: Sequence[Hit], grades: Mapping[Hit, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain of the first answers."""
    gains = [grades.get(answer, 0) / math.log2(place + 2) for place, answer in enumerate(ranked[:depth])]
    best = sorted(grades.values(), reverse=True)[:depth]
    return sum(gains) / sum(grade / math.log2(place + 2) for place, grade in enumerate(best))


def recall(ranked: Sequence[Hit], grades: Mapping[Hit, int], depth: int = 100) -> float:
    """The share of the answers among the first ones."""
    return len(set(ranked[:depth]) & set(grades)) / len(grades)
