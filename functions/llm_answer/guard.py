"""The guard: lets a model's words through until it repeats itself, copies the prompt or has said enough. Pure.

Small models run on: they say a sentence again, go round in a circle, or go on with the prompt's own headings and
another question. What may turn out to be such is held back until it is clear, so that what was shown can stay.
"""

import re
from collections.abc import Sequence

from functions.llm_answer.text import fold, sentences, words

SHORTEST = 3  # words of a sentence that, said again, is a repetition: "It does not." may well be said twice
LONGEST_ROUND = 16  # words of a circle
ROUNDS = 3  # times that a circle is gone before it counts as one
ROUND_WORDS = 6  # words that all rounds have together at least: "very, very, very" is no circle
FULL = 3  # characters a token after which the next whole sentence ends the answer, before the limit cuts one in two
_ENDED = re.compile(r"[.!?…。！？:][\"'”’)\]*`]*$")


class Guard:
    """Takes the pieces of one answer in and says what of them may be shown.

    `marks` are lines that the prompt wrote, no passage's own words; one that ends with a space stands for any line that
    begins so. `tokens` is how many the answer may have, `given` words of it that were shown before: the model goes on.
    `shown` is all that was given out, `stopped` whether the answer is at its end although the model goes on.
    """

    def __init__(self, marks: Sequence[str] = (), tokens: int = 0, given: str = "") -> None:
        self.marks = [_plain(mark) for mark in marks if mark.strip()]
        self.beginnings = tuple(_plain(mark) for mark in marks if mark.strip() and mark.endswith(" "))
        self.most = tokens * FULL
        self.written = self.shown = given
        self.stopped = False

    def feed(self, piece: str) -> str:
        """The words that may be shown now that `piece` has come; empty while they are held back."""
        self.written += piece
        good = self._judged(whole=False)
        added = good[len(self.shown) :] if good.startswith(self.shown) else ""
        self.shown += added
        return added

    def end(self, *, cut: bool = False) -> str:
        """The answer, when no more comes; `cut` when the model was stopped by its limit.

        It begins with what was shown, unless that ran into a circle or into half a sentence.
        """
        good = self._judged(whole=not self.stopped)
        return _whole(good) if cut and not self.stopped else good

    def _judged(self, *, whole: bool) -> str:
        text = self.written[self._begin(whole=whole) :].lstrip()
        last = min(self._marked(text, whole=whole), self._repeated(text, whole=whole), self._enough(text))
        if (first := _circle(text[:last])) is not None:
            self.stopped = True
            text, last = _closed(_whole(text[:first])), first
        return text[:last].rstrip()

    def _begin(self, *, whole: bool) -> int:
        """Where the answer begins: behind headings of the prompt that it was opened with."""
        begin = 0
        for line in self.written.splitlines(keepends=True):
            if line.strip() and not (self._mark(line, whole=whole) or self._mark_begun(line, whole=whole)):
                break
            begin += len(line)
        return begin

    def _marked(self, text: str, *, whole: bool) -> int:
        """Where the text begins to copy the prompt's own lines, or may; else its end."""
        at = 0
        for line in text.splitlines(keepends=True):
            if at and self._mark(line, whole=whole):
                self.stopped = True
                return at
            if at and self._mark_begun(line, whole=whole):
                return at
            at += len(line)
        return len(text)

    def _mark(self, line: str, *, whole: bool) -> bool:
        plain = _plain(line)
        return plain.startswith(self.beginnings) or ((whole or line.endswith("\n")) and plain in self.marks)

    def _mark_begun(self, line: str, *, whole: bool) -> bool:
        """Whether a line that is still being written may become the prompt's."""
        begun = _plain(line)
        return not whole and not line.endswith("\n") and any(mark.startswith(begun) for mark in self.marks if begun)

    def _repeated(self, text: str, *, whole: bool) -> int:
        """Where a sentence is said again, or may be; else the text's end."""
        said: list[list[str]] = []
        spans = sentences(text)
        for number, (start, end) in enumerate(spans):
            mine = [word.folded for word in words(text[start:end])]
            ended = whole or number + 1 < len(spans)
            if ended and len(mine) >= SHORTEST and mine in said:
                self.stopped = True
                return start
            if not ended and mine and any(_begins(mine, other) for other in said):
                return start
            said.append(mine)
        return len(text)

    def _enough(self, text: str) -> int:
        """Where the first sentence ends that is long enough for the whole answer; else the text's end."""
        spans = sentences(text)
        for _, end in spans[:-1]:
            if 0 < self.most <= end:
                self.stopped = True
                return end
        return len(text)


def _begins(mine: Sequence[str], other: Sequence[str]) -> bool:
    """Whether words, the last of which may not be whole, are how a sentence began that has been said."""
    return (
        len(other) >= max(len(mine), SHORTEST)
        and list(other[: len(mine) - 1]) == list(mine[:-1])
        and other[len(mine) - 1].startswith(mine[-1])
    )


def _circle(text: str) -> int | None:
    """Where the second round of a circle begins at which the text ends; None while it goes straight on."""
    every = words(text[-4000:])
    offset = max(0, len(text) - 4000)
    said = [word.folded for word in every]
    for size in range(1, min(LONGEST_ROUND, len(said) // ROUNDS) + 1):
        rounds = max(ROUNDS, -(-ROUND_WORDS // size))
        tail = said[-rounds * size :]
        if len(tail) == rounds * size and tail == tail[:size] * rounds:
            at = len(said) - len(tail)
            while at >= size and said[at - size : at] == tail[:size]:
                at -= size
            return offset + every[at + size].start
    return None


def _whole(text: str) -> str:
    """The text up to its last whole sentence, where there is one."""
    ends = [end for start, end in sentences(text) if _ENDED.search(text[start:end])]
    return text[: ends[-1]] if ends else text


def _closed(text: str) -> str:
    """The text without the small words and commas at its end that lead on to more: ", and the"."""
    while (last := words(text)[-1:]) and not last[0].informative and not _ENDED.search(text):
        text = text[: last[0].start].rstrip(" ,;–-")
    return text.rstrip(" ,;–-")


def _plain(line: str) -> str:
    return fold(" ".join(line.split()))
