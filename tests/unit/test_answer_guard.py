"""The guard lets an answer through as it comes, and stops a model that runs on; what was shown stays the beginning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.guard import Guard

MARKS = ["Question: ", "Hamlet – Dramatis Personae:", "Hamlet:"]


def fed(text: str, *, size: int = 3, tokens: int = 0, cut: bool = False) -> tuple[str, str, bool]:
    """(what was shown on the way, the answer, whether the guard stopped it), fed in pieces."""
    guard = Guard(MARKS, tokens)
    for at in range(0, len(text), size):
        guard.feed(text[at : at + size])
        if guard.stopped:
            break
    return guard.shown, guard.end(cut=cut), guard.stopped


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
class TestWhatIsStopped:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("It is in Denmark. The castle is old. It is in Denmark. And on.", "It is in Denmark. The castle is old."),
            ("It is in Denmark. It is in DENMARK!  It is in Denmark.", "It is in Denmark."),
            ("It is in Denmark.\n\nQuestion: Where is Hamlet set? Denmark.", "It is in Denmark."),
            ("It is so.\nHamlet – Dramatis Personae:\nCLAUDIUS", "It is so."),
            ("True. He is king of all, king of all, king of all, king of all.", "True."),
        ],
    )
    def test_at_the_last_whole_sentence(self, text: str, answer: str, size: int) -> None:
        _, given_, stopped = fed(text, size=size)
        assert (given_, stopped) == (answer, True)

    def test_of_a_circle_without_a_sentence_before_it_one_round_is_kept(self, size: int) -> None:
        _, answer, stopped = fed("Page to Paris – " * 9, size=size)
        assert stopped
        assert answer.startswith("Page to Paris")
        assert not answer.endswith(("–", "to"))
        assert len(answer) < 3 * len("Page to Paris – ")

    def test_headings_of_the_prompt_at_the_beginning_are_left_out(self, size: int) -> None:
        assert fed("\nHamlet – Dramatis Personae:\nIt is Denmark.", size=size)[1:] == ("It is Denmark.", False)

    def test_nothing_new_is_begun_shortly_before_the_limit(self, size: int) -> None:
        assert fed("One is here. Two is there. Three is far.", size=size, tokens=6)[1:] == (
            "One is here. Two is there.",
            True,
        )


@pytest.mark.parametrize(
    "text",
    [
        "It does. It is old. It does.",
        "It is very, very, very old.",
        "- kn plugin list\n- kn plugin describe\n- kn plugin install",
        "Two are named.\nHamlet: the prince.\nClaudius: the king.",
        "The question: where is it? It is in Denmark.",
        "Denmark",
    ],
)
def test_what_only_looks_alike_passes(text: str) -> None:
    shown, answer, stopped = fed(text)
    assert text.startswith(shown)
    assert (answer, stopped) == (text, False)


def test_a_sentence_that_ends_as_one_before_is_left_out_at_the_end() -> None:
    assert fed("It is in Denmark. It is in Denmark")[:2] == ("It is in Denmark.", "It is in Denmark.")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is in Denmark. The castle of Els", "It is in Denmark."),
        ("It is in Den", "It is in Den"),
        ("All of it.", "All of it."),
    ],
)
def test_what_its_limit_cut_ends_with_a_whole_sentence_where_there_is_one(text: str, answer: str) -> None:
    assert fed(text, cut=True)[1] == answer


def test_text_comes_through_word_by_word() -> None:
    guard = Guard(MARKS)
    assert [guard.feed(piece) for piece in [" It", " is", " in", " ", "Denmark", ". "]] == [
        "It",
        " is",
        " in",
        "",
        " Denmark",
        ".",
    ]


WORDS = st.sampled_from(["It", "is", "in", "Denmark", ".", "\n", "Question:", "Hamlet –", "1.", "so", "é", "!"])
PROSE = st.lists(WORDS, max_size=40).map(" ".join)


@given(PROSE, st.integers(1, 9), st.sampled_from([0, 4, 20]), st.booleans())
def test_whatever_comes_the_pieces_shown_make_the_answer(text: str, size: int, tokens: int, cut: bool) -> None:
    guard = Guard(MARKS, tokens)
    shown = "".join(guard.feed(text[at : at + size]) for at in range(0, len(text), size))
    answer = guard.end(cut=cut)
    assert shown == guard.shown
    assert answer == answer.strip()
    assert all(word in text for word in answer.split())
    assert shown in text
