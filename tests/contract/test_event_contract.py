"""Schemas, examples, the code's event types, Trigger filters, handlers and asyncapi.yaml say the same."""

import ast
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from knts import events, schemas

ROOT = Path(__file__).resolve().parents[2]
TYPES = {value for name, value in vars(events).items() if name.isupper() and str(value).startswith("knts.")}
SCHEMA_FILES = sorted((ROOT / "schemas/events").glob("*.json"))
EXAMPLE_FILES = sorted((ROOT / "schemas/examples").glob("*.json"))
ASYNCAPI = yaml.safe_load((ROOT / "schemas/asyncapi.yaml").read_text())
UNHEARD = {events.DOCUMENT_REJECTED, events.ANSWER_FAILED, events.ANSWER_CANCELLED}  # for whoever subscribes


def example(path: Path) -> events.Event:
    return events.from_http([(b"content-type", events.STRUCTURED.encode())], path.read_bytes())


def triggers() -> dict[str, dict[str, Any]]:
    """The Triggers of eventing/base by name."""
    found = {}
    for path in sorted((ROOT / "eventing/base").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest and manifest.get("kind") == "Trigger":
                found[manifest["metadata"]["name"]] = manifest["spec"]
    return found


def filtered_types(node: Any) -> set[str]:
    """Every event type that a Trigger's filters name exactly."""
    if isinstance(node, list):
        return set().union(*map(filtered_types, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    here = {value for key, value in node.items() if key == "type" and isinstance(value, str)}
    return here.union(*(filtered_types(value) for value in node.values()))


def handled_types(function: str) -> set[str]:
    """The event types in the handler table of a function's main.py, read from its source."""
    tree = ast.parse((ROOT / "functions" / function.replace("-", "_") / "main.py").read_text())
    return {
        getattr(events, key.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Attribute) and isinstance(key.value, ast.Name) and key.value.id == "events"
    }


def test_every_type_has_a_schema_and_an_example() -> None:
    assert {path.stem for path in SCHEMA_FILES} == TYPES
    assert {path.stem for path in EXAMPLE_FILES} == TYPES


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=lambda path: path.stem)
def test_a_schema_is_valid_and_names_its_type(path: Path) -> None:
    schema = orjson.loads(path.read_bytes())
    jsonschema_rs.meta.validate(schema)
    assert (schema["title"], schema["$id"]) == (path.stem, f"urn:knts:schema:{path.stem}")
    assert schema["additionalProperties"] is False
    assert schema["description"]


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_event_of_its_type(path: Path) -> None:
    event = example(path)
    assert event.type == path.stem
    schemas.check_data(event)


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: path.stem)
def test_a_schema_refuses_an_unknown_field_and_a_missing_one(path: Path) -> None:
    data = example(path).payload
    assert schemas.faults(path.stem, {**data, "surprise": 1})
    for name in orjson.loads((ROOT / f"schemas/events/{path.stem}.json").read_bytes())["required"]:
        assert schemas.faults(path.stem, {key: value for key, value in data.items() if key != name})


def test_each_trigger_delivers_exactly_what_its_function_takes() -> None:
    found = triggers()
    assert found, "eventing/base has no Triggers"
    for name, spec in found.items():
        function = spec["subscriber"]["ref"]["name"]
        assert filtered_types(spec.get("filters") or spec.get("filter")) <= TYPES, name
    by_function: dict[str, set[str]] = {}
    for spec in found.values():
        function = spec["subscriber"]["ref"]["name"]
        by_function.setdefault(function, set()).update(filtered_types(spec.get("filters") or spec.get("filter")))
    for function, types in by_function.items():
        assert types == handled_types(function), function
    assert set().union(*by_function.values()) == TYPES - UNHEARD


def test_each_trigger_says_how_it_delivers_and_where_its_dead_letters_go() -> None:
    for name, spec in triggers().items():
        delivery = spec["delivery"]
        assert {"retry", "backoffPolicy", "backoffDelay", "timeout"} <= set(delivery), name
        assert delivery["deadLetterSink"]["ref"]["name"] == "dead-letter", name


def test_asyncapi_names_every_type_and_who_receives_it() -> None:
    messages = ASYNCAPI["components"]["messages"]
    assert {message["name"] for message in messages.values()} == TYPES
    for message in messages.values():
        assert (ROOT / "schemas" / message["payload"]["$ref"]).is_file()
    received = {
        operation["title"].removesuffix(" receives"): {
            messages[reference["$ref"].rsplit("/", 1)[1]]["name"] for reference in operation["messages"]
        }
        for operation in ASYNCAPI["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == {function: handled_types(function) for function in received}
    assert set().union(*received.values()) == TYPES - UNHEARD
