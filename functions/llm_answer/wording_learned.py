"""What was learned from data of other wordings: how like two questions must be that are not in the same words.

`python -m bench.wording --learn` prints the numbers again. It takes pairs of questions that people have marked as
meaning the same or not (a sample of 1,000 and 1,000 of Quora's, `KNTS_DATA`; they may be used for evaluation and are no
part of this repository) and of them those which no guard refuses and which are in other words. Of these it fits by
logistic regression how often a likeness means the same, and takes the lowest likeness from which on less than half a
wrong hit is to be expected among the 1,000. A likeness is the cosine of two embeddings, and other models have others:
a number counts for its model only.
"""

from collections.abc import Mapping

LIKE_ENOUGH: Mapping[str, float] = {
    "all-minilm": 0.96,
    "all-minilm:22m": 0.96,
}
