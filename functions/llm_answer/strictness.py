"""Strict answers: each sentence is held back until a passage supports it, and left out when none does. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from functions.llm_answer.citations import tie
from functions.llm_answer.text import sentences


class Strict:
    """Judges the sentences of one answer as they are written, each once.

    A sentence is judged by itself, against the passages that the prompt showed, so what was released once stays.
    """

    def __init__(self, passages: Sequence[Mapping[str, Any]], question: str) -> None:
        self.passages = passages
        self.question = question
        self.withheld = 0  # sentences that were left out of the text released last
        self._judged: dict[str, bool] = {}

    def released(self, text: str, *, whole: bool) -> str:
        """The supported sentences of a text as they stand in it; unless it is `whole`, its last one may yet go on."""
        spans = sentences(text)
        ended = spans if whole else spans[:-1]
        kept = [
            text[ended[at - 1][1] if at else start : end]
            for at, (start, end) in enumerate(ended)
            if self._supported(text[start:end])
        ]
        self.withheld = len(ended) - len(kept)
        return "".join(kept).lstrip()

    def _supported(self, sentence: str) -> bool:
        if sentence not in self._judged:
            told = tie(sentence, self.passages, self.question).sentences
            self._judged[sentence] = bool(told) and all(each["supported"] for each in told)
        return self._judged[sentence]
