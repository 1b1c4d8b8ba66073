"""What clients send, checked against the schema of the event that it becomes; faults name field and rule. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from knts import events, formats, schemas
from knts.errors import BadRequest

MAX_DEPTH = 32
MAX_CONVERSATION_ID = 128


def checked(event_type: str, request: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """The data of an event: the client's fields and `ours`, which he can't set. Raises BadRequest."""
    if given := sorted(set(ours) & set(request)):
        refuse([{"field": name, "rule": "is not a field of this request"} for name in given])
    data = {**request, **ours}
    if found := [fault for fault in schemas.faults(event_type, data) if fault["field"].split(".")[0] not in ours]:
        refuse(found)
    return data


def checked_question(request: Mapping[str, Any], groups: Sequence[str]) -> tuple[dict[str, Any], str | None]:
    """The data of an answer.requested event, without what was asked before, and the conversation's id if any.

    Raises BadRequest.
    """
    asked = {name: value for name, value in request.items() if name != "conversation_id"}
    if "conversation" in asked:
        refuse([{"field": "conversation", "rule": "is not a field of this request"}])
    conversation_id = request.get("conversation_id")
    named = isinstance(conversation_id, str) and 1 <= len(conversation_id) <= MAX_CONVERSATION_ID
    if "conversation_id" in request and not named:
        refuse([{"field": "conversation_id", "rule": f"must be a text of 1 to {MAX_CONVERSATION_ID} characters"}])
    data = checked(events.ANSWER_REQUESTED, asked, groups=list(groups))
    if "format" in data and (rule := formats.fault(data["format"])):
        refuse([{"field": "format", "rule": rule}])
    if "format" in data and data.get("strict"):
        refuse([{"field": "strict", "rule": "is for words: an answer with a format leaves no sentence out"}])
    return data, conversation_id


def checked_document(request: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a document.upserted event, still without a version where the client gave none. Raises BadRequest."""
    found = schemas.faults("knts.document.upserted.v1", {"version": 1, **request})
    refuse(found or section_faults(request.get("sections", ()), len(request.get("text", ""))))
    return dict(request)


def section_faults(sections: Any, length: int) -> list[dict[str, str]]:
    """Where sections, which the schema has passed, don't fit a text of `length` code points."""
    return [
        {"field": f"sections.{number}", "rule": f"must have start <= end <= {length}, the text's length"}
        for number, section in enumerate(sections)
        if not section["start"] <= section["end"] <= length
    ][:5]


def refuse(faults: list[dict[str, str]]) -> None:
    """Raises BadRequest naming each fault; nothing happens without one."""
    if faults:
        raise BadRequest("; ".join(f"{fault['field']}: {fault['rule']}" for fault in faults), errors=faults)


def check_depth(value: Any, most: int = MAX_DEPTH) -> None:
    """Raises BadRequest for JSON nested deeper than `most`, without recursion of our own."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    refuse([{"field": "body", "rule": f"must not be nested deeper than {most} levels"}])
