"""Another wording: whether the answer that one question has may be given to who asks another. Pure.

Words decide: each that says something must stand in both questions, and no guard may find what they differ in. Where
they are the same words, put another way, that is all. Where some are others that mean the same, or stand in another
order, the questions' embeddings must also be close, by a number that was learned for the embedding model; with a model
of which nothing was learned such a wording is another question. Embeddings alone tell too little: "from v2 to v3"
and "from v3 to v2" are as close as two questions can be.
"""

from dataclasses import dataclass

from functions.llm_answer.wording_guards import Pair, differs
from functions.llm_answer.wording_learned import LIKE_ENOUGH
from functions.llm_answer.wording_question import read

UNLIKE = "likeness"
UNKNOWN = "model"


@dataclass(frozen=True)
class Verdict:
    """True where the answer may be given; else `reason` names what refused it: a guard, "likeness" or "model"."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def same(asked: str, known: str, likeness: float, model: str = "") -> Verdict:
    """Whether the cached answer of `known` may be given to who asked `asked`.

    `likeness` is the cosine of the two questions' embeddings by `model`, named as Ollama does.
    """
    pair = Pair(read(asked), read(known))
    if reason := differs(pair):
        return Verdict(reason)
    if not pair.reworded:
        return Verdict()
    least = LIKE_ENOUGH.get(model.removesuffix(":latest"))
    if least is None:
        return Verdict(UNKNOWN)
    return Verdict() if likeness >= least else Verdict(UNLIKE)
