"""A sentence is supported when the cited places say all of it, and not when they only share words with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.citations import tie
from functions.llm_answer.strictness import Strict

TEXT = (
    "The Rhine rises in the Swiss canton of Graubünden. It is 1,233 km long and carries 2,900 m³ of water a second. "
    "It does not flow through Denmark. The bridge at Cologne was opened in 1911 by Kaiser Wilhelm."
)
PASSAGES = [{"document_id": "rhine", "version": 1, "title": "Rhine", "start": 0, "text": TEXT}]
QUESTION = "Where does the Rhine rise?"


def verdicts(answer: str, question: str = QUESTION) -> list[bool]:
    return [each["supported"] for each in tie(answer, PASSAGES, question).sentences]


@pytest.mark.parametrize(
    ("answer", "supported"),
    [
        ("The Rhine rises in the Swiss canton of Graubünden.", [True]),
        ("It rises in Graubünden, a Swiss canton.", [True]),
        ("In Graubünden.", [True]),
        ("It rises in the canton of Uri.", [False]),  # another name
        ("The bridge at Cologne was opened in 1912.", [False]),  # another number
        ("The bridge at Cologne was opened by Kaiser Friedrich.", [False]),
        ("The Rhine does not rise in the Swiss canton of Graubünden.", [False]),  # denied
        ("It flows through Denmark.", [False]),  # the passage denies it
        ("It does not flow through Denmark.", [True]),
        ("It is not so that it does not flow through Denmark.", [False]),  # two denials cancel out
        ("It rises in the Swiss canton of Graubünden, where dragons guard seven silver caves.", [False]),
        ("It carries 2,900 m³ of watter a second.", [True]),  # another spelling
        ("The bridge at Cologna was opened by Kaiser Wilhelm.", [False]),  # a name has but one
        ("It rises in Graubünden. Falstaff drinks sack.", [True, False]),
        ("Falstaff drinks sack. [1]", [False]),  # a marker is no sentence
        ("The answer is: Where does the Rhine rise?", [False]),  # a question states nothing
        ("Does it carry 2,900 m³ of water a second? [1]", [False]),
        ("", []),
    ],
)
def test_sentences(answer: str, supported: list[bool]) -> None:
    assert verdicts(answer) == supported


@given(st.lists(st.sampled_from([*TEXT.replace(".", ". ").split(" "), "[1]", "not", "7", "\n\n", "- "]), max_size=30))
def test_sentences_lie_in_order_in_the_answer_with_their_citations_inside(words: list[str]) -> None:
    answer = " ".join(words)
    tied = tie(answer, PASSAGES, QUESTION)
    last = 0
    for sentence in tied.sentences:
        assert last <= sentence["start"] < sentence["end"] <= len(answer)
        last = sentence["end"]
        for index in sentence["citations"]:
            place = tied.citations[index]
            assert sentence["start"] <= place["answer_start"] < place["answer_end"] <= sentence["end"]
        assert sentence["citations"] or not sentence["supported"]
    assert sorted(index for each in tied.sentences for index in each["citations"]) == list(range(len(tied.citations)))


class TestStrict:
    def test_a_sentence_is_held_back_until_it_has_ended(self) -> None:
        strict = Strict(PASSAGES, QUESTION)
        assert strict.released("It rises in Graubünden", whole=False) == ""
        assert strict.released("It rises in Graubünden. It", whole=False) == "It rises in Graubünden."
        assert strict.released("It rises in Graubünden. It", whole=True) == "It rises in Graubünden."
        assert strict.withheld == 1

    def test_what_no_passage_supports_is_left_out(self) -> None:
        strict = Strict(PASSAGES, QUESTION)
        told = "Falstaff drinks sack. It rises in Graubünden.\n\nIt has dragons. It does not flow through Denmark."
        assert strict.released(told, whole=True) == "It rises in Graubünden. It does not flow through Denmark."
        assert strict.withheld == 2

    @given(st.lists(st.sampled_from(["It rises in Graubünden.", "Falstaff drinks.", "It is long.", "2,900 m³"])))
    def test_what_was_released_stays_whatever_follows(self, parts: list[str]) -> None:
        strict, last = Strict(PASSAGES, QUESTION), ""
        text = " ".join(parts)
        for end in range(len(text)):
            now = strict.released(text[:end], whole=False)
            assert now.startswith(last)
            last = now
        assert strict.released(text, whole=True).startswith(last)
