"""What was learned from data of other wordings: how like two questions must be that are not in the same words.

`python -m bench.wording --learn` prints the numbers again. It takes pairs of questions that people have marked as
meaning the same or not (a sample of 1,000 and 1,000 of Quora's, `KNTS_DATA`; they may be used for evaluation and are no
part of this repository). Of those which no guard refuses and which are in other words it fits by logistic regression
how often a likeness means another question, and takes the lowest from which on the wrong hits that are expected,
together with those in the same words, stay half a hit below what the bound allows: four of 1,000, since then the
one-sided 95 % upper bound is below 1 %. A likeness is the cosine of two embeddings, and other models have others: a
number counts for its model only.
"""

from collections.abc import Mapping

LIKE_ENOUGH: Mapping[str, float] = {
    "all-minilm": 0.96,
    "all-minilm:22m": 0.96,
}
