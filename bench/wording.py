"""`python -m bench.wording`: how often another wording of a question gets its answer, and how often another question.

On pairs of questions that people have marked (`KNTS_DATA`, Quora's, for evaluation only): the cosine of the packaged
model's embeddings alone, each guard, and the whole judge of functions/llm_answer/wording.py, as set and cross-fitted.
On pairs of our own (bench/eval/wordings.jsonl), written to be near misses, both ways round. `--learn` prints what
functions/llm_answer/wording_learned.py holds; `--show` the pairs that no guard refuses although they are marked as
other questions, to be read.
"""

import argparse
import itertools
import json
import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.asked import DATA
from bench.headlines import headline
from bench.intervals import share, upper
from bench.measure import table
from functions.llm_answer.wording import same
from functions.llm_answer.wording_guards import GUARDS, Pair, differs
from functions.llm_answer.wording_question import read
from knts.local.model.minilm import NAME, MiniLM
from knts.local.process import LocalError

PAIRS = DATA / "pairs/question_pairs_2000.jsonl"
OWN = Path(__file__).parent / "eval/wordings.jsonl"
BOUND = 0.01  # of the pairs that do not mean the same, which may be hits at most, by the upper bound
ROOM = 0.5  # wrong hits by which what is learned stays below that: what is counted on few pairs is luck as well
FOLDS, SEED = 10, 20261
STEP = 0.005
LOOSE = 0.9  # a likeness to compare with, at which cosine finds nearly half of those that mean the same
STEEP = 10  # how likeness is scaled, so that both numbers of the fit are of one size
PRIOR = 0.1  # keeps the fit from running away where no hit is wrong


@dataclass(frozen=True)
class Marked:
    """Two questions, whether people say that they mean the same, and the cosine of their embeddings."""

    one: str
    other: str
    same: bool
    likeness: float

    @cached_property
    def pair(self) -> Pair:
        return Pair(read(self.one), read(self.other))

    @cached_property
    def refused(self) -> str:
        return differs(self.pair)


def read_pairs(path: Path, model: MiniLM, one: str, other: str, mark: str) -> list[Marked]:
    """The pairs of a file of JSON lines, whose fields have these names."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    vectors = {text: model.embed(text)[0] for row in rows for text in (row[one], row[other])}
    return [
        Marked(row[one], row[other], bool(row[mark]), _cosine(vectors[row[one]], vectors[row[other]])) for row in rows
    ]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(operator.mul, one, other)))


def allowed(negatives: int) -> int:
    """The most wrong hits among so many that are within the bound."""
    return next(hits for hits in itertools.count() if upper(hits + 1, negatives) > BOUND)


def learned(every: Sequence[Marked]) -> float:
    """The likeness from which on a pair in other words may be a hit.

    By logistic regression: the lowest from which on the wrong hits that are expected, with those that are in the same
    words and so are hits at any likeness, are within the bound.
    """
    rest = [each for each in every if not each.refused]
    room = allowed(sum(not each.same for each in every)) - ROOM
    room -= sum(not each.same for each in rest if not each.pair.reworded)
    reworded = [each for each in rest if each.pair.reworded]
    base, slope = _fitted(reworded)
    least = 1.0 + STEP  # nothing is
    for step in range(round(0.5 / STEP) + 1):
        likeness = 1.0 - step * STEP
        if sum(_wrong(base, slope, each.likeness) for each in reworded if each.likeness >= likeness) > room:
            break
        least = likeness
    return round(least, 3)


def _wrong(base: float, slope: float, likeness: float) -> float:
    return 1 / (1 + math.exp(-base - slope * (likeness - 1) * STEEP))


def _fitted(every: Sequence[Marked]) -> tuple[float, float]:
    """The two numbers of a logistic regression of being wrong on likeness, by Newton's steps."""
    base, slope = 0.0, 0.0
    for _ in range(50):
        at_base, at_slope = 0.0, -PRIOR * slope
        twice = [[1e-6, 0.0], [0.0, PRIOR]]
        for each in every:
            x, chance = (each.likeness - 1) * STEEP, _wrong(base, slope, each.likeness)
            at_base += (not each.same) - chance
            at_slope += ((not each.same) - chance) * x
            weight = chance * (1 - chance)
            twice[0][0] += weight
            twice[0][1] += weight * x
            twice[1][1] += weight * x * x
        (a, b), (_, c) = twice
        scale = a * c - b * b
        base += (c * at_base - b * at_slope) / scale
        slope += (a * at_slope - b * at_base) / scale
    return base, slope


def crossed(every: Sequence[Marked]) -> list[tuple[Marked, bool]]:
    """Each pair, and whether it is a hit by what was learned from the other folds."""
    chance = random.Random(SEED)
    kinds = [[each for each in every if each.same == kind] for kind in (True, False)]
    for kind in kinds:
        chance.shuffle(kind)
    judged = []
    for fold in range(FOLDS):
        apart = [each for kind in kinds for at, each in enumerate(kind) if at % FOLDS == fold]
        least = learned([each for kind in kinds for at, each in enumerate(kind) if at % FOLDS != fold])
        judged += [(each, _hit(each, least)) for each in apart]
    return judged


def _hit(each: Marked, least: float) -> bool:
    return not each.refused and (not each.pair.reworded or each.likeness >= least)


def cosine(every: Sequence[Marked]) -> float:
    """The lowest likeness that keeps the bound without any guard: one above that of the first wrong hit too many."""
    wrong = sorted((each.likeness for each in every if not each.same), reverse=True)
    return math.nextafter(wrong[allowed(len(wrong))], 2)


def figures(name: str, judged: Sequence[tuple[Marked, bool]]) -> tuple[str, str, str, str]:
    """A row: hits among those that mean the same and among the others, and the upper bound of these."""
    right, wrong = ([hit for each, hit in judged if each.same == kind] for kind in (True, False))
    return name, share(right), share(wrong), f"{100 * upper(sum(wrong), len(wrong)):.2f} %"


def report(every: Sequence[Marked], *, show: bool) -> None:
    """Print the tables on marked pairs."""
    least = cosine(every)
    judges: dict[str, Callable[[Marked], bool]] = {
        f"cosine alone, from {least:.3f}": lambda each: each.likeness >= least,
        f"the same with the guards of meaning, from {least:.3f}": lambda each: each.likeness >= least and _bare(each),
        "the judge, embeddings of an unknown model": lambda each: bool(same(each.one, each.other, each.likeness)),
        "the judge, as set": lambda each: bool(same(each.one, each.other, each.likeness, NAME)),
        "the guards alone, at any likeness": lambda each: not each.refused,
    }
    rows = [figures(name, [(each, judge(each)) for each in every]) for name, judge in judges.items()]
    rows.insert(4, figures(f"the judge, cross-fitted ({FOLDS} folds, seed {SEED})", crossed(every)))
    _, hits, wrong, bound = rows[4]
    headline("wording", "hits of the judge, cross-fitted", hits, "≥ 40 %")
    headline("wording", "wrong hits of the judge, cross-fitted", f"{wrong}; at most {bound}", "≤ 1 %")
    print(table(("judge", "hits: mean the same", "wrong hits: the others", "upper 95 % bound"), rows))
    print("\nWhat each guard refuses, and what it alone refuses\n")
    print(table(("guard", "mean the same", "others", "alone: the same", "alone: others"), list(_guards(every))))
    if show:
        for each in sorted(every, key=lambda each: -each.likeness):
            if not each.same and not each.refused:
                hit = "hit" if same(each.one, each.other, each.likeness, NAME) else "unlike"
                print(f"{hit} {each.likeness:.3f} {each.one} | {each.other}")


def _bare(each: Marked) -> bool:
    return not any(guard(each.pair) for name, guard in GUARDS.items() if name not in ("word", "nothing", "direction"))


def _guards(every: Sequence[Marked]) -> Iterator[tuple[str, int, int, int, int]]:
    told = [(each.same, {name for name, guard in GUARDS.items() if guard(each.pair)}) for each in every]
    for name in GUARDS:
        of = [sum(name in by for kind, by in told if kind == which) for which in (True, False)]
        alone = [sum(by == {name} for kind, by in told if kind == which) for which in (True, False)]
        yield (name, *of, *alone)  # type: ignore[misc]


def own() -> None:
    """Print the table on our own pairs, judged as if their embeddings were the same."""
    pairs = [json.loads(line) for line in OWN.read_text().splitlines()]
    print(f"\nOur own {len(pairs)} pairs, both ways round, at likeness 1\n")
    rows, missed = [], []
    for about in dict.fromkeys(each["about"] for each in pairs):
        cells: list[str] = [about]
        for kind in (True, False):
            hits = []
            for each in pairs:
                if each["about"] == about and each["same"] == kind:
                    both = (each["one"], each["other"]), (each["other"], each["one"])
                    verdicts = [same(one, other, 1.0, NAME) for one, other in both]
                    hits += [bool(verdict) for verdict in verdicts]
                    missed += [(each, verdict.reason) for verdict in verdicts[:1] if bool(verdict) != kind]
            cells.append(f"{sum(hits)} of {len(hits)}")
        rows.append(cells)
    print(table(("about", "hits: mean the same", "wrong hits: the others"), rows))
    for each, reason in missed:
        print(f"{'missed by ' + reason if each['same'] else 'WRONG'}: {each['one']} | {each['other']}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn", action="store_true", help="print what wording_learned.py holds")
    parser.add_argument("--show", action="store_true", help="print the pairs that no guard refuses although marked")
    wanted = parser.parse_args()
    try:
        model = MiniLM()
    except LocalError as error:
        print(f"bench.wording: all that needs embeddings is skipped, {error}")
        own()
        return
    if not PAIRS.is_file():
        print(f"bench.wording: pairs skipped, {PAIRS} is missing (KNTS_DATA names the folder)")
        own()
        return
    every = read_pairs(PAIRS, model, "a", "b", "duplicate")
    if wanted.learn:
        print(f'"{NAME}": {learned(every)}')
        return
    report(every, show=wanted.show)
    own()
    near = read_pairs(OWN, model, "one", "other", "same")
    for name, least in (("cosine alone", cosine(every)), ("cosine alone", LOOSE)):
        hits = [[each.likeness >= least for each in near if each.same == kind] for kind in (True, False)]
        print(f"On these {name} from {least:.3f}: hits {share(hits[0])}, wrong hits {share(hits[1])}")


if __name__ == "__main__":
    main()
