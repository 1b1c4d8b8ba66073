"""A finished answer is checked against the documents by anybody, and no changed byte of it passes."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer.citations import tie
from knts import answers
from knts.citations import Text, faults, seal
from knts.cli.main import cli

HAMLET = (
    "Dramatis Personae. The scene is in Denmark. Marcellus and Bernardo keep watch at Elsinore. 🎭 The rest is silence."
)
MACBETH = "Macbeth is a thane of Scotland. Three witches greet him on a heath near Forres."
DOCUMENTS = {"plays/hamlet.txt": Text(HAMLET, 3), "plays/macbeth.txt": Text(MACBETH, 1)}
SAID = (
    "The scene is in Denmark. Marcellus keeps watch with Bernardo at Elsinore. Falstaff drinks. "
    "Macbeth is a thane of Scotland."
)


def finished() -> dict[str, Any]:
    """An answer as the HTTP API gives it."""
    passages = [
        {"document_id": name, "version": each.version, "title": name, "url": None, "start": 0, "end": len(each.text)}
        | {"text": each.text}
        for name, each in DOCUMENTS.items()
    ]
    tied = tie(SAID, passages, "Where is it?")
    final = {"status": "completed", "answer": SAID, "model": "m", "passages": passages, "citations": tied.citations}
    composed = answers.compose({"id": "0" * 32, "question": "Where is it?"}, {**final, "sentences": tied.sentences})
    return dict(orjson.loads(orjson.dumps(composed)))


ANSWER = finished()
Path_ = tuple[str | int, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where the values stand that are neither lists nor objects."""
    if isinstance(value, (dict, list)):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, name))
    else:
        yield path


def changed(value: Any, data: st.DataObject) -> Any:
    """Another value of the same kind: one character, one more or less, the other truth."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + data.draw(st.sampled_from([-1, 1, 7]))
    if not value:
        return "x"
    at = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.sampled_from(["#", "0", "a", ""]).filter(lambda each: each != value[at]))
    return value[:at] + other + value[at + 1 :]


SAYS = [
    path for path in leaves(ANSWER) if path[0] in ("question", "status", "answer", "model", "citations", "sentences")
]
PASSAGES = [path for path in leaves(ANSWER["passages"], ("passages",)) if path[-1] in ("start", "end", "text")]


def test_an_answer_as_it_was_written_passes() -> None:
    assert [each["supported"] for each in ANSWER["sentences"]] == [True, True, False, True]
    assert len(ANSWER["citations"]) == 3
    assert faults(ANSWER, DOCUMENTS) == []
    assert faults(ANSWER, {name: Text(each.text) for name, each in DOCUMENTS.items()}) == []


@given(st.sampled_from(SAYS + PASSAGES), st.data())
def test_no_changed_value_of_an_answer_passes(path: Path_, data: st.DataObject) -> None:
    broken = copy.deepcopy(ANSWER)
    inner: Any = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = changed(inner[path[-1]], data)
    assert faults(broken, DOCUMENTS)


@given(
    st.sampled_from([path for path in SAYS if path[0] == "citations" and path[-1] not in ("title", "url")]), st.data()
)
def test_no_citation_that_was_forged_and_sealed_anew_passes(path: Path_, data: st.DataObject) -> None:
    broken = copy.deepcopy(ANSWER)
    citation = broken["citations"][path[1]]
    citation[path[2]] = changed(citation[path[2]], data)
    moved = path[2] in ("answer_start", "answer_end")  # to other words of its sentence: that is no other quote
    broken["digest"] = seal(broken)
    assert faults(broken, DOCUMENTS) or moved


@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_no_changed_byte_of_a_quoted_text_passes(name: str, data: st.DataObject) -> None:
    cited = data.draw(st.sampled_from([each for each in ANSWER["citations"] if each["document_id"] == name]))
    text = DOCUMENTS[name].text
    at = data.draw(st.integers(cited["start"], cited["end"] - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != text[at]))
    assert faults(ANSWER, {**DOCUMENTS, name: Text(text[:at] + other + text[at + 1 :])})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"plays/hamlet.txt": Text(HAMLET, 4)}, "version 4 now; 3 is cited"),
        ({"plays/hamlet.txt": Text(" " + HAMLET)}, "does not say so"),
        ({"plays/hamlet.txt": None}, "there is no document"),
    ],
)
def test_what_is_wrong_is_said_in_words(change: dict[str, Any], told: str) -> None:
    known = {name: each for name, each in {**DOCUMENTS, **change}.items() if each}
    assert told in " ".join(faults(ANSWER, known))


def test_a_sentence_that_is_called_supported_must_cite_something() -> None:
    broken = copy.deepcopy(ANSWER)
    broken["sentences"][2]["supported"] = True
    broken["digest"] = seal(broken)
    assert faults(broken, DOCUMENTS) == ["sentence 3 is called supported and cites nothing"]


class TestTheCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "plays").mkdir()
        for name, each in DOCUMENTS.items():
            (tmp_path / name).write_text(each.text, encoding="utf-8")
        (tmp_path / "answer.json").write_bytes(orjson.dumps(ANSWER))
        return tmp_path

    def test_without_a_server(self, folder: Path) -> None:
        done = CliRunner().invoke(cli, ["verify", str(folder / "answer.json"), str(folder / "plays")])
        assert (done.exit_code, done.output) == (0, "every byte is right: 3 citations, 3 of 4 sentences supported\n")

    def test_a_changed_document_fails(self, folder: Path) -> None:
        (folder / "plays/hamlet.txt").write_text(HAMLET.replace("Denmark", "Norway."), encoding="utf-8")
        done = CliRunner().invoke(cli, ["verify", str(folder / "answer.json"), str(folder / "plays")])
        assert done.exit_code == 1
        assert "'plays/hamlet.txt' does not say so" in done.output

    def test_an_answer_from_the_standard_input_as_json(self, folder: Path) -> None:
        broken = orjson.dumps({**ANSWER, "answer": SAID.replace("Denmark", "Germany")})
        done = CliRunner().invoke(cli, ["verify", "--json", "-", str(folder / "plays")], input=broken)
        assert done.exit_code == 1
        assert orjson.loads(done.stdout)["faults"] == ["the answer is not as it was written: its digest differs"]

    @pytest.mark.parametrize("given", ["[]", "{}", "no", '{"citations": 1}'])
    def test_what_is_no_answer_is_a_wrong_use(self, folder: Path, given: str) -> None:
        done = CliRunner().invoke(cli, ["verify", "-", str(folder / "plays")], input=given)
        assert done.exit_code == 2
        assert done.output.startswith("knts: ")

    def test_without_documents_and_server(self, folder: Path) -> None:
        named = ["verify", "--url", "http://127.0.0.1:9", str(folder / "answer.json")]
        assert CliRunner().invoke(cli, named).exit_code == 3
