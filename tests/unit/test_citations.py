"""Citations are exact by construction, and stand only where a passage carries what the answer says."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.citations import tie
from functions.search.passages import choose
from functions.search.passages import passage as shown
from functions.search.ranking import Ranked
from knts.answers import compose
from knts.citations import Text, faults, holds
from tests.searching import chunks_of, document

HAMLET = (
    "The scene is in Denmark. Marcellus and Bernardo keep watch at Elsinore, the royal castle, in 1602. "
    "HAMLET, the prince, mourns his father."
)
MACBETH = "Macbeth is a thane of Scotland. Three witches greet him on a heath near Forres."


def passage(document_id: str, text: str, start: int = 0) -> dict[str, Any]:
    return {"document_id": document_id, "version": 1, "title": document_id, "start": start, "text": text}


PLAYS = [passage("hamlet", HAMLET, 100), passage("macbeth", MACBETH)]


def told(answer: str, question: str = "what?", passages: list[dict[str, Any]] | None = None) -> list[tuple[str, str]]:
    """(words of the answer, quote) of each citation."""
    cited = tie(answer, passages or PLAYS, question).citations
    return [(answer[each["answer_start"] : each["answer_end"]], each["quote"]) for each in cited]


class TestWhatIsCited:
    @pytest.mark.parametrize(
        ("answer", "question", "citations"),
        [
            (
                "Hamlet takes place in Denmark.",
                "Where does Hamlet take place?",
                [("in Denmark", "The scene is in Denmark.")],
            ),
            ("Denmark.", "Where does Hamlet take place?", [("Denmark", "The scene is in Denmark.")]),
            (
                "They keep watch at ELSINORE, the royal castle.",
                "Where do they watch?",
                [("keep watch at ELSINORE, the royal castle", "keep watch at Elsinore, the royal castle")],
            ),
            (
                "Bernardo and Marcellus are watching in the castle of Elsinore.",
                "Who watches?",
                [
                    (
                        "Bernardo and Marcellus are watching in the castle of Elsinore.",
                        "Marcellus and Bernardo keep watch at Elsinore, the royal castle, in 1602.",
                    )
                ],
            ),
            (
                "Macbeth is a thane of Scotland. He also met Falstaff in London.",
                "Who is he?",
                [("Macbeth is a thane of Scotland", "Macbeth is a thane of Scotland")],
            ),
            ("Falstaff drinks sack in Eastcheap.", "Who drinks?", []),
            ("I do not know.", "Who drinks?", []),
            ("", "Who drinks?", []),
            ("They keep watch at Elsinore in 1603.", "When?", []),  # the passage says 1602
        ],
    )
    def test_of_sentences(self, answer: str, question: str, citations: list[tuple[str, str]]) -> None:
        assert told(answer, question) == citations

    def test_a_name_that_the_question_did_not_hold_is_cited_within_what_is_made_up(self) -> None:
        text = "Power was in the hands of Hassan al-Turabi."
        answer = "The leader was Hassan al-Turabi, who had studied law, wrote many books and founded several parties."
        assert told(answer, "Who was the leader?", [passage("sudan", text)]) == [
            ("Hassan al-Turabi", "Hassan al-Turabi")
        ]

    def test_markers_decide_between_equals_and_prove_nothing(self) -> None:
        twins = [passage("one", "The harbour lies in the north."), passage("two", "The harbour lies in the north.")]
        answers = ["The harbour lies in the north.", "The harbour lies in the north [2].", "The moon is green [1]."]
        documents = [[each["document_id"] for each in tie(answer, twins, "where?").citations] for answer in answers]
        assert documents == [["one"], ["two"], []]

    def test_of_two_places_the_one_that_says_more_of_the_sentence_is_quoted(self) -> None:
        text = "Ships left Denmark in spring. The scene of the play is Denmark."
        assert told("The scene is Denmark.", "?", [passage("d", text)])[0][1] == "The scene of the play is Denmark."

    def test_a_long_sentence_is_quoted_from_its_first_to_its_last_shared_word(self) -> None:
        text = "so " * 200 + "the keeper lights, as ever, the lamp" + " and on" * 200
        [(_, quote)] = told("The lamp is lit by its keeper: lights, lamp.", "?", [passage("d", text)])
        assert quote == "keeper lights, as ever, the lamp"

    def test_scripts_without_spaces(self) -> None:
        text = "東京は日本の首都です。大阪は西にあります。"
        [(words, quote)] = told("日本の首都は東京です。", "首都は?", [passage("jp", text)])
        assert quote in text
        assert words


PERSONS = """Dramatis Personae
CLAUDIUS, king of Denmark.
HAMLET, son to the late, and nephew to the present king.
POLONIUS, lord chamberlain.
GERTRUDE, queen of Denmark, and mother to Hamlet."""
DENMARK = [passage("persons", PERSONS), passage("scene", "KING CLAUDIUS\nNow, Hamlet, where's Polonius?")]
KING = "Who is the king of Denmark in Hamlet?"


class TestWhatIsTooWeak:
    @pytest.mark.parametrize(
        ("answer", "quotes"),
        [
            ("The king of Denmark in Hamlet is Polonius.", []),
            ("The king of Denmark in Hamlet is Claudius.", ["Dramatis Personae\nCLAUDIUS, king of Denmark."]),
            ("Claudius.", ["Dramatis Personae\nCLAUDIUS, king of Denmark."]),
        ],
    )
    @pytest.mark.parametrize("speeches", [1, 5])
    def test_a_name_that_stands_elsewhere_than_what_the_question_asks(
        self, answer: str, quotes: list[str], speeches: int
    ) -> None:
        assert [quote for _, quote in told(answer, KING, DENMARK[:1] + DENMARK[1:] * speeches)] == quotes

    @pytest.mark.parametrize("answer", ["1.", "1. 2. 3.", "- ", "1. Falstaff\n2. Sack"])
    def test_the_marks_of_a_list(self, answer: str) -> None:
        numbered = [passage("list", "1. Open the file. 2. Close it. 3. Rest.")]
        assert [quote for _, quote in told(answer, "How?", numbered) if quote.strip("123. ") == ""] == []

    def test_the_marks_of_a_list_are_no_part_of_what_is_cited(self) -> None:
        [(said, quote)] = told("1. Open the file.", "How?", [passage("list", "Steps: open the file. Close it.")])
        assert (said, quote) == ("Open the file", "open the file")


def test_quotes_of_one_sentence_that_stand_side_by_side_are_one() -> None:
    text = "Ministers give a statement on new laws early in the year, and ordinary members question its author."
    answer = "Ministers give a statement on new laws, and ordinary members question its author."
    [(said, quote)] = told(answer, "Who?", [passage("d", text)])
    assert said == answer[:-1]
    assert quote == text[:-1]


ODD = "Élan élan ﬁn fin ß SS 北京 don’t don't Hamlet hamlet 1602 𝒜 e\u0301 naïve it is . ! ? \n [1] “a”"
WORDS = st.sampled_from(ODD.split(" "))
PROSE = st.lists(WORDS, max_size=40).map(" ".join)


@given(
    PROSE,
    st.lists(st.tuples(PROSE, st.integers(0, 50)), max_size=3),
    PROSE,
    st.text("\x00aé𝒜 .", min_size=50, max_size=50),
)
def test_every_citation_is_exact_whatever_was_written(
    answer: str, texts: list[tuple[str, int]], question: str, before: str
) -> None:
    passages = [passage(str(number), text, start) for number, (text, start) in enumerate(texts)]
    for citation in tie(answer, passages, question).citations:
        text, start = texts[int(citation["document_id"])]
        assert holds(citation, before[:start] + text)
        assert citation["sha256"] == hashlib.sha256(citation["quote"].encode()).hexdigest()
        assert 0 <= citation["answer_start"] < citation["answer_end"] <= len(answer)


@given(PROSE, PROSE)
def test_citing_the_passage_itself_quotes_nothing_else(text: str, question: str) -> None:
    for words, quote in told(text, question, [passage("d", text)]):
        assert words
        assert quote in text


@given(st.sampled_from(["start", "end", "quote", "sha256", "text"]), st.integers(1, 5), st.data())
def test_a_corrupted_citation_is_caught(part: str, by: int, data: st.DataObject) -> None:
    document = "x" * 100 + HAMLET
    citation = tie("They keep watch at Elsinore, the royal castle.", PLAYS, "?").citations[0]
    assert holds(citation, document)
    broken = dict(citation)
    if part in ("start", "end"):
        broken[part] += data.draw(st.sampled_from([-by, by]))
    elif part == "text":
        at = data.draw(st.integers(citation["start"], citation["end"] - 1))
        document = document[:at] + "#" + document[at + 1 :]
    else:
        at = data.draw(st.integers(0, len(broken[part]) - 1))
        broken[part] = broken[part][:at] + "#" + broken[part][at + 1 :]
    assert not holds(broken, document)


@pytest.mark.parametrize(("start", "end"), [(-5, 3), (3, 3), (5, 3), (90, 400)])
def test_offsets_outside_the_text_hold_nothing(start: int, end: int) -> None:
    quote = "x" * 100
    digest = hashlib.sha256(quote[start:end].encode()).hexdigest()
    assert not holds({"start": start, "end": end, "quote": quote[start:end], "sha256": digest}, quote)


def test_a_citation_across_joined_passages_holds_in_the_document() -> None:
    text = f"# Tower\n\n{'Nobody climbs it. ' * 45}\n\nOnly Anna does, on Sundays. {'The lamp burns. ' * 50}"
    first, second = chunks_of(document("d", text))
    [joined] = choose([Ranked(second, 2.0), Ranked(first, 1.0)], 4)
    cited = tie("Nobody climbs it. Only Anna does, on Sundays.", [shown(joined)], "Who climbs the tower?").citations
    assert len(cited) == 2
    assert all(holds(citation, text) for citation in cited)
    assert cited[-1]["quote"] == "Only Anna does, on Sundays"
    told_of = {name: shown(joined)[name] for name in ("document_id", "version", "start", "end", "text")}
    sealed = compose({"id": "a"}, {"status": "completed", "answer": "", "passages": [told_of]})
    assert faults(sealed, {"d": Text(text, 1)}) == []
