"""JSON lines: one object a document, with the names of the HTTP API; further keys become metadata."""

from collections.abc import Iterator
from typing import Any

import orjson

from knts.cli.extract.document import Document, Refused, Section, decoded, file_title

KNOWN = ("url", "lang", "tags", "acl", "version")
Scalar = (str, int, float, bool)


def from_jsonl(path: str, data: bytes) -> Iterator[Document | Refused]:
    """The documents, and a Refused that names its line for each line that is none."""
    for number, line in enumerate(decoded(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _document(f"{path}#{number}", line)
        except Refused as refused:
            yield Refused(f"line {number}: {refused}")


def _document(default_id: str, line: str) -> Document:
    try:
        item = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Refused(f"is not JSON ({error})") from error
    if not isinstance(item, dict):
        raise Refused("is not a JSON object")
    text = item.pop("text", None)
    if not isinstance(text, str) or not text.strip():
        raise Refused('"text" is missing or empty')
    name = item.pop("id", None) or item.pop("_id", None) or default_id
    title = item.pop("title", None) or file_title(str(name))
    sections = _sections(item.pop("sections", None), len(text))
    metadata = _object(item.pop("metadata", None))
    others = {key: item.pop(key) for key in KNOWN if item.get(key) is not None}
    extra = {key: _metadata(key, value) for key, value in item.items() if key not in KNOWN and value is not None}
    return Document(str(name), str(title), text, sections, {**metadata, **extra}, others)


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused('"metadata" is not an object')
    return {key: _metadata(key, inner) for key, inner in value.items()}


def _metadata(key: str, value: Any) -> Any:
    if isinstance(value, Scalar) or (isinstance(value, list) and all(isinstance(inner, Scalar) for inner in value)):
        return value
    raise Refused(
        f'"{key[:40]}" is neither a name of ours nor metadata (text, a number, true, false or a list of them)'
    )


def _sections(value: Any, length: int) -> tuple[Section, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Refused('"sections" is not a list')
    return tuple(_section(item, length) for item in value)


def _section(item: Any, length: int) -> Section:
    if not isinstance(item, dict) or not all(isinstance(item.get(name), int) for name in ("start", "end")):
        raise Refused('a section has no whole-number "start" and "end"')
    if not 0 <= item["start"] < item["end"] <= length:
        raise Refused(f"a section from {item['start']} to {item['end']} is not within the text's {length} characters")
    return Section(item["start"], item["end"], str(item.get("title") or ""), _object(item.get("metadata")))
