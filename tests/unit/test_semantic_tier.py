"""What the semantic tier needs to be on, and what it decides by looking."""

from dataclasses import dataclass
from typing import Any

import pytest

from functions.llm_answer import main
from functions.llm_answer.semantic import CHANGED, MARGIN_MS, NEWER, cites_what_is_found, unfit
from knts.settings import SettingsError

ENV = {"REDIS_URL": "redis://h/0", "REDIS_CACHE_URL": "redis://h/1", "OLLAMA_MODEL": "m", "OLLAMA_URL": "http://h:1"}


async def test_it_needs_a_model_that_embeds() -> None:
    with pytest.raises(SettingsError, match=r"KNTS_SEMANTIC.*OLLAMA_EMBED_MODEL"):
        async with main.wire({**ENV, "KNTS_SEMANTIC": "on"}):
            pass


@dataclass(frozen=True)
class Since:
    version: int
    ms: int | None


ASKED = 100_000
LONG_AGO, JUST_BEFORE = ASKED - MARGIN_MS - 1, ASKED - MARGIN_MS


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"a": Since(1, ASKED + 5), "b": Since(2, LONG_AGO), "c": Since(3, ASKED + 5)}, ""),
        ({"a": Since(1, 1), "b": Since(2, JUST_BEFORE), "c": Since(3, 1)}, NEWER),
        ({"a": Since(1, 1), "b": Since(2, None), "c": Since(3, 1)}, NEWER),
        ({"a": Since(1, 1), "b": Since(3, LONG_AGO), "c": Since(3, 1)}, CHANGED),
        ({"a": Since(1, 1), "b": Since(2, LONG_AGO), "c": Since(4, 1)}, CHANGED),
        ({"a": Since(1, 1), "b": Since(2, LONG_AGO)}, CHANGED),
        ({}, CHANGED),
    ],
)
def test_what_the_documents_say_to_it(found: dict[str, Since], why: str) -> None:
    """Both were shown a, only the one who asks now b, only the one who asked before c."""
    assert unfit([("a", 1), ("b", 2)], [("a", 1), ("c", 3)], ASKED, found) == why


def at(start: int, end: int, document_id: str = "a", version: int = 1) -> dict[str, Any]:
    return {"document_id": document_id, "version": version, "start": start, "end": end}


@pytest.mark.parametrize(
    ("citations", "passages", "fits"),
    [
        ([at(5, 9)], [at(0, 10)], True),
        ([at(5, 10)], [at(5, 10)], True),
        ([at(5, 11)], [at(0, 10)], False),
        ([at(4, 9)], [at(5, 10)], False),
        ([at(5, 9)], [at(0, 10, version=2)], False),
        ([at(5, 9)], [at(0, 10, "b")], False),
        ([at(5, 9), at(12, 14)], [at(0, 10)], False),
        ([at(5, 9), at(12, 14)], [at(0, 10), at(11, 20)], True),
        ([at(8, 12)], [at(0, 10), at(10, 20)], False),
        ([], [at(0, 10)], False),
    ],
)
def test_all_that_is_cited_stands_in_what_was_found(citations: Any, passages: Any, fits: bool) -> None:
    assert cites_what_is_found(citations, passages) == fits
