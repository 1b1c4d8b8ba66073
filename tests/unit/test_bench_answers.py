"""What the measurement of answers calls right, repeated and copied: figures are worth what these are."""

import pytest

from bench.answers import IMITATES, repeats
from bench.asked import right


@pytest.mark.parametrize(
    ("answer", "gold", "is_right"),
    [
        ("It was in 1969.", ("1969",), True),
        ("It was in 19690.", ("1969",), False),
        ("By the d’Hondt method", ("d'Hondt",), True),
        ("kn is it", ("brew", "KN"), True),
        ("known", ("kn",), False),
        ("", ("x",), False),
    ],
)
def test_right(answer: str, gold: tuple[str, ...], is_right: bool) -> None:
    assert right(answer, gold) == is_right


@pytest.mark.parametrize(
    ("answer", "bad"),
    [
        ("the king of all, the king of all, the king of all", True),
        ("the king of all, the king of all", False),
        ("[1] Title\nWords", True),
        ("Denmark.\nQuestion: where?", True),
        ("The question is where.", False),
    ],
)
def test_repeated_and_copied(answer: str, bad: bool) -> None:
    assert (repeats(answer) or bool(IMITATES.search(answer))) == bad
