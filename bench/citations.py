"""`python -m bench.citations`: what code says of sentences whose truth is known, and of citations with a changed byte.

Sentences that hold the answer of a SQuAD 2 question, as they stand in its passage, are true. Each is then made untrue
in one way at a time: another number, another name, denied, lengthened by what no passage says, or taken from another
passage. `KNTS_DATA` names the data; without it this repository's docs are taken. With `--answers FILE`, what
`bench.answers --keep` wrote is judged too.
"""

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.asked import DATA, Asked, documented, own, right, squad
from bench.headlines import headline
from bench.intervals import share
from bench.measure import table
from functions.llm_answer.citations import tie
from functions.llm_answer.text import sentences
from knts.citations import holds

SEED = 20261
_NUMBER = re.compile(r"\b\d+\b")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b")
_VERB = re.compile(r"\b(?:was|is|were|are|had|has|can|could|would|will)\b(?! not)")
_WORD = re.compile(r"\w+")
TRUE = ("as it stands", "its first half", "its words, some left out")


def variants(asked: Asked, everything: Sequence[Asked], chance: random.Random) -> Iterator[tuple[str, str]]:
    """Sentences that say the passage's truth, and sentences that don't, each with the name of how it was made."""
    sentence = next((each for each in _sentences(asked) if right(each, asked.gold)), None)
    if sentence is None or len(_WORD.findall(sentence)) < 6:
        return
    yield "as it stands", sentence
    halves = sentence.split(", ")
    if len(halves) > 1 and len(_WORD.findall(halves[0])) > 4:
        yield "its first half", halves[0] + "."
    kept = [word for word in sentence.split(" ") if word.lower() not in ("the", "a", "an", "also", "of", "in")]
    yield "its words, some left out", " ".join(kept)
    if found := _NUMBER.search(sentence):
        yield "another number", sentence[: found.start()] + str(int(found[0]) + 7) + sentence[found.end() :]
    names = [each for each in _NAME.findall(" ".join(_sentences(chance.choice(everything)))) if each not in sentence]
    if (found := _NAME.search(sentence)) and names:
        yield "another name", sentence[: found.start()] + chance.choice(names) + sentence[found.end() :]
    if (found := _VERB.search(sentence)) and " not " not in sentence:
        yield "denied", sentence[: found.end()] + " not" + sentence[found.end() :]
    yield (
        "lengthened",
        sentence.rstrip(".") + ", as professor Wilbur Thackeray discovered while he repaired a lighthouse.",
    )
    other = chance.choice([each for each in everything if each.passages[0]["title"] != asked.passages[0]["title"]])
    yield "from another passage", next(_sentences(other))


def _sentences(asked: Asked) -> Iterator[str]:
    for passage in asked.passages:
        for start, end in sentences(passage["text"]):
            yield passage["text"][start:end]


def judged(every: Sequence[Asked]) -> dict[str, list[bool]]:
    """For each way, whether the sentences made so were called supported."""
    chance, found = random.Random(SEED), defaultdict(list)
    for asked in every:
        for way, sentence in variants(asked, every, chance):
            told = tie(sentence, asked.passages, asked.question).sentences
            found[way].append(bool(told) and all(each["supported"] for each in told))
    return found


def corrupted(every: Sequence[Asked], times: int) -> tuple[int, int]:
    """Citations with one changed character, offset, digest or document: how many there were, how many were caught."""
    chance, tried, caught = random.Random(SEED), 0, 0
    for asked in every:
        sentence = next(_sentences(asked))
        for citation in tie(sentence, asked.passages, asked.question).citations[:1]:
            passage = next(each for each in asked.passages if _within(citation, each))
            text = " " * passage["start"] + passage["text"]
            if not holds(citation, text):
                raise SystemExit(f"a citation that was just made does not hold: {citation}")
            for _ in range(times):
                broken, document = _broken(citation, text, chance)
                tried, caught = tried + 1, caught + (not holds(broken, document))
    return tried, caught


def _within(citation: Mapping[str, Any], passage: Mapping[str, Any]) -> bool:
    same = citation["document_id"] == passage["document_id"]
    return bool(same and passage["start"] <= citation["start"] and citation["end"] <= passage["end"])


def _broken(citation: dict[str, Any], text: str, chance: random.Random) -> tuple[dict[str, Any], str]:
    part = chance.choice(("start", "end", "quote", "sha256", "text"))
    if part in ("start", "end"):
        return {**citation, part: citation[part] + chance.choice((-2, -1, 1, 2))}, text
    if part == "text":
        return citation, _changed(text, chance.randrange(citation["start"], citation["end"]))
    return {**citation, part: _changed(citation[part], chance.randrange(len(citation[part])))}, text


def _changed(text: str, at: int) -> str:
    return text[:at] + ("#" if text[at] != "#" else "%") + text[at + 1 :]


def of_answers(path: Path, counts: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Sentences of a model's answers: how many are called supported in right answers, and how many in wrong ones."""
    given = json.loads(path.read_text())
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for asked, answer in zip([*squad(*counts), *own()], given, strict=True):
        if answer["question"] != asked.question:
            raise SystemExit(f"{path} holds the answers to other questions")
        if answer["abstained"]:
            continue
        name = "unanswerable" if not asked.gold else "right" if right(answer["answer"], asked.gold) else "wrong"
        found[name] += [each["supported"] for each in tie(answer["answer"], asked.passages, asked.question).sentences]
    for name in ("right", "wrong", "unanswerable"):
        yield f"the model's answers, {name}", share(found[name])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, help="what bench.answers --keep wrote")
    parser.add_argument("--asked", type=int, nargs=2, default=(40, 20), help="how many it was asked of each kind")
    wanted = parser.parse_args()
    every = list(squad(150, 0) if (there := (DATA / "qa").is_dir()) else documented())
    if not there:
        print(f"over this repository's docs, since {DATA / 'qa'} is missing (KNTS_DATA names the folder)\n")
    found = judged(every)
    order = sorted(found, key=lambda way: way not in TRUE)
    rows = [(f"{'true' if way in TRUE else 'untrue'}: {way}", share(found[way])) for way in order]
    if wanted.answers:
        rows += of_answers(wanted.answers, tuple(wanted.asked))
    print(table(("sentences", "called supported (95 % interval)"), rows))
    tried, caught = corrupted(every, 40)
    for kind, aim in ((True, "100 %"), (False, "0 %")):
        told = [each for way in found if (way in TRUE) == kind for each in found[way]]
        headline("citations", f"{'true' if kind else 'untrue'} sentences called supported", share(told), aim)
    headline("citations", "corrupted citations caught", f"{caught} of {tried}", "all")
    print(f"\n{tried} citations with one part changed, {caught} caught (seed {SEED})")


if __name__ == "__main__":
    main()
