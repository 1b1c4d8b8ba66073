"""Counting tokens without the model's tokenizer, which Ollama does not lend: about, at most, and by what calls taught.

A prompt that is longer than the context loses its beginning or its passages, and Ollama may not say so. So a prompt has
to fit by what it can have at most, unless the server is known to refuse what is too long.
"""

import re
from collections import OrderedDict, deque
from math import ceil

WORD, MARK = 1 / 3, 0.75  # tokens of a letter or space, and of a mark, in ASCII; a digit is one in many vocabularies
MARGIN = 1.1  # on what a model's calls taught: the next text may be of another kind
STEP = 8  # parts of 1 that a learned factor is rounded up to, so that it seldom changes
FEWEST, MOST = 0.25, 4.0  # what a factor may be: a count beyond is no count of that prompt
CALLS, MODELS = 32, 64  # that are remembered
_WORDS, _DIGITS = re.compile("[A-Za-z ]+"), re.compile("[0-9]+")


def tokens(text: str) -> int:
    """About how many tokens a text has, rather too many; never more than one above `at_most`.

    Beyond ASCII one token a byte but one of each character.
    """
    letters, digits = (sum(map(len, kind.findall(text))) for kind in (_WORDS, _DIGITS))
    beyond = at_most(text) - len(text)
    marks = len(text.encode("ascii", "ignore")) - letters - digits
    return int(letters * WORD + digits + marks * MARK + beyond) + 1


def at_most(text: str) -> int:
    """How many tokens a text has at most: in vocabularies that are made of bytes or fall back to them, one a byte."""
    return len(text.encode("utf-8", "surrogatepass"))


def measured(text: str, factor: float | None) -> int:
    """How many tokens to expect of a text, by a learned factor; how many at most without one."""
    most = at_most(text)
    return most if factor is None else min(most, ceil(tokens(text) * factor * MARGIN))


class Learned:
    """By how much each model's own counts differ from `tokens`: of its last calls the highest, by digest."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, deque[float]] = OrderedDict()

    def learn(self, digest: str, estimated: int, counted: int) -> None:
        """A prompt of `estimated` tokens had `counted` by the model's own count."""
        if not FEWEST <= counted / max(estimated, 1) <= MOST:
            return
        self._known.setdefault(digest, deque(maxlen=CALLS)).append(counted / estimated)
        self._known.move_to_end(digest)
        while len(self._known) > MODELS:
            self._known.popitem(last=False)

    def factor(self, digest: str) -> float | None:
        """Own tokens for each estimated one, rounded up; None before anything was learned."""
        known = self._known.get(digest)
        return ceil(max(known) * STEP) / STEP if known else None
