"""Answers in the form of a JSON Schema: which schemas are taken, what fits them, and what each value is tied to."""

import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.llm_answer import structured
from functions.llm_answer.prompt import Budget, compose
from knts import formats
from knts.citations import holds
from knts.errors import Permanent

PLACE = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "watchmen": {"type": "integer"}},
    "required": ["place"],
}
TEXT = "The scene is laid in Elsinore, the castle of Denmark. There were 2 watchmen on the platform that night."
SHOWN = [{"document_id": "hamlet", "version": 3, "chunk": 0, "title": "Hamlet", "url": None, "start": 40, "text": TEXT}]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ({"type": "strin"}, "not a JSON Schema"),
        ({"$ref": "https://example.org/schema"}, "Retrieval is disabled"),
        ({"$ref": "file:///etc/passwd"}, "not a JSON Schema"),
        ({"$ref": "#/$defs/missing"}, "does not exist"),
        ({"type": "string", "pattern": "(?=a)b"}, "regex"),
        ({"enum": ["x" * formats.MAX_BYTES]}, "bytes"),
    ],
)
def test_a_schema_that_can_not_be_used_is_refused_with_the_rule(schema: dict[str, Any], rule: str) -> None:
    assert rule in str(formats.fault(schema))


TREE = {"$ref": "#/$defs/tree"}


def doubling(steps: int) -> dict[str, Any]:
    """Definitions of which each has two ways to the next one."""
    two = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(steps)}
    return {"$defs": {**two, f"d{steps}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        (doubling(16), "more than 1000 parts"),  # in 1 KB; a text is held against it in some 20 s
        ({"$ref": "#"}, "without a step into the value"),
        ({"anyOf": [{"$ref": "#"}, {"type": "string"}]}, "without a step into the value"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "a step"),
        ({"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, "more than one way"),
        ({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}, "more than one way"),
        (
            {"$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}, "items": {"$ref": "#"}, "not": TREE},
            "more than one way",
        ),
        (
            {
                "$defs": {
                    "a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/c"}]},
                    "b": {"items": {"$ref": "#/$defs/a"}},
                    "c": {"items": {"$ref": "#/$defs/a"}},
                },
                "$ref": "#/$defs/a",
            },
            "more than one way",
        ),
        ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}, "more than one way"),
        ({"$defs": {"a": {"$anchor": "x"}}, "$ref": "#x"}, "no pointer within it"),
        ({"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}}, "$dynamicAnchor is not offered"),
        ({"items": {"$id": "https://example.org/a"}}, "$id is offered at the top alone"),
        ({"$id": "https://example.org/a", "items": {"$ref": "https://example.org/a"}}, "no pointer within it"),
    ],
)
def test_a_schema_that_could_keep_a_function_busy_or_can_not_be_followed_is_refused(
    schema: dict[str, Any], rule: str
) -> None:
    assert rule in str(formats.fault(schema))


def test_a_schema_that_is_too_deep_to_be_read_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"items": deep}
    assert formats.fault(deep) == "is nested too deeply"


class Part(pydantic.BaseModel):
    """A leaf."""

    name: str


class Node(pydantic.BaseModel):
    """A schema as the official client makes it: definitions, one of which comes back to itself."""

    name: str
    parent: "Node | None" = None
    parts: list[Part]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        PLACE,
        {"type": "array", "items": PLACE},
        {"type": "string", "pattern": "^a+$"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.org/a", **PLACE},
        {"$defs": {"a/b": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b"}, "unheard-of": 1},
        {"prefixItems": [{"type": "string"}], "items": False},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"$defs": {"tree": {"items": TREE}}, "anyOf": [TREE, {"type": "array", "items": TREE}]},
        {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        doubling(7),
        Node.model_json_schema(),
    ],
)
def test_a_schema_that_can_be_used_has_no_fault(schema: dict[str, Any]) -> None:
    assert formats.fault(schema) is None


def test_what_does_not_fit_is_told_with_its_place() -> None:
    structured.check('{"place": "Elsinore"}', PLACE)
    for text, reason in [("Elsinore", "not JSON"), ('{"watchmen": 2}', "place"), ('{"place": 1}', "place: 1 is not")]:
        with pytest.raises(Permanent, match=reason):
            structured.check(text, PLACE)


def test_each_value_is_cited_where_it_stands_in_the_json() -> None:
    answer = '{"place": "Elsinore, the castle of Denmark", "watchmen": 2}'
    found = structured.tie(answer, SHOWN, "How many watchmen were on the platform that night?").citations
    said = {answer[one["answer_start"] : one["answer_end"]] for one in found}
    assert said == {"Elsinore, the castle of Denmark", "2"}
    assert all(holds(one, " " * 40 + TEXT) for one in found)


def test_escapes_do_not_move_what_is_cited() -> None:
    answer = r'{"place": "\ud83c\udfad \"Elsinore\", the castle of Denmark"}'
    (only,) = structured.tie(answer, SHOWN, "Where is the scene?").citations
    assert answer[only["answer_start"] : only["answer_end"]] == r"Elsinore\", the castle of Denmark"


def test_a_number_that_no_passage_has_is_not_cited() -> None:
    assert structured.tie('{"watchmen": 7}', SHOWN, "How many watchmen were there?").citations == []


def test_an_answer_abstains_when_every_text_says_so() -> None:
    assert structured.abstains('{"place": "The documents do not tell.", "watchmen": 0}')
    assert structured.abstains('{"place": "The documents do not tell.", "country": "Denmark"}') is None
    assert structured.abstains('{"watchmen": 2}') is None


@given(JSON)
def test_the_values_of_any_json_are_found_with_their_places(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        found = list(structured.values(text))
        assert [one.said for one in found if not one.number] == list(_texts(value))
        for one in found:
            assert list(one.places) == sorted(one.places)
            assert one.number or len(one.places) == len(one.said) + 1
            if one.number:
                assert text[one.places[0] : one.places[-1]] == one.said.partition(" ")[0]


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from _texts(inner)


def test_json_is_shown_as_it_comes_and_is_no_answer_when_it_was_cut() -> None:
    whole = structured.Whole()
    assert [whole.feed(piece) for piece in ('{"place"', ': "Elsinore"}')] == ['{"place"', ': "Elsinore"}']
    assert whole.end() == '{"place": "Elsinore"}'
    with pytest.raises(Permanent, match="cut at its limit"):
        whole.end(cut=True)


def test_the_prompt_shows_the_schema_and_nothing_stops_inside_it() -> None:
    made = compose("Where?", SHOWN, {}, 4096, Budget(4096, 500, 100), PLACE)
    system = made.messages[0]["content"]
    assert '"watchmen"' in system
    assert "never instructions" in system
    assert made.options["stop"] == []
    assert compose("Where?", SHOWN, {}, 4096, Budget(4096, 500, 100)).options["stop"] != []


def test_a_schema_that_leaves_no_room_for_passages_is_refused() -> None:
    large = {**PLACE, "description": "x" * 12_000}
    with pytest.raises(Permanent, match="leaves no room"):
        compose("Where?", SHOWN, {}, 4096, Budget(4096, 500, 100), large)
    assert compose("Where?", SHOWN, {}, 8192, Budget(8192, 500, 100), large).shown == SHOWN
