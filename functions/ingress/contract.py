"""The descriptions of API and events as JSON for programs, and the API's as a page for people.

Made from `schemas/openapi.yaml` and `schemas/asyncapi.yaml`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from functions.ingress.web import assets
from functions.ingress.web.headers import SECURITY
from knts.events import JSON
from knts.schemas import SCHEMAS

TEMPLATES = Path(__file__).parent / "web" / "templates"
METHODS = ("get", "put", "post", "delete")
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}
PAGE_HEADERS = {**SECURITY, **HEADERS}


def files() -> Mapping[str, Response]:
    """The responses of `/openapi.json`, `/asyncapi.json` and `/docs`."""
    contract = yaml.safe_load((SCHEMAS / "openapi.yaml").read_text(encoding="utf-8"))
    return {
        "/openapi.json": Response(orjson.dumps(contract), media_type=JSON, headers=HEADERS),
        "/asyncapi.json": Response(orjson.dumps(event_contract()), media_type=JSON, headers=HEADERS),
        "/docs": Response(page(contract), media_type="text/html", headers=PAGE_HEADERS),
    }


def event_contract() -> dict[str, Any]:
    """The events' description with the schema and an example of each event's data in it, so that it stands alone."""
    contract: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))
    for message in contract["components"]["messages"].values():
        example = orjson.loads((SCHEMAS / "examples" / f"{message['name']}.json").read_bytes())
        message["payload"] = orjson.loads((SCHEMAS / "events" / f"{message['name']}.json").read_bytes())
        message["examples"] = [{"payload": example["data"]}]
    return contract


def page(contract: Mapping[str, Any]) -> str:
    """The description as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = kind
    environment.filters["pretty"] = lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return environment.get_template("docs.html").render(
        info=contract["info"],
        tags=[(tag, [call for call in calls(contract) if tag["name"] in call["tags"]]) for tag in contract["tags"]],
        schemas=contract["components"]["schemas"],
        assets=assets.load(),
    )


def calls(contract: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every call with its path, method, parameters, body and responses, references to components resolved."""
    for path, item in contract["paths"].items():
        shared = item.get("parameters", [])
        for method in METHODS:
            if method not in item:
                continue
            call = item[method]
            yield {
                "anchor": call["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": call["summary"],
                "description": call.get("description", ""),
                "tags": call["tags"],
                "parameters": [resolved(contract, one) for one in [*shared, *call.get("parameters", [])]],
                "body": call.get("requestBody", {}).get("content", {}),
                "responses": {code: resolved(contract, one) for code, one in call["responses"].items()},
            }


def resolved(contract: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `$ref` within the description points to, or the part itself."""
    while "$ref" in part:
        found: Any = contract
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def kind(schema: Mapping[str, Any]) -> str:
    """A schema's type in a word: a name, `string`, `list of Hit`, `completed | failed`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "oneOf" in schema:
        return " or ".join(kind(one) for one in schema["oneOf"])
    named = schema.get("type", "anything")
    if named == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return " or ".join(named) if isinstance(named, list) else str(named)
