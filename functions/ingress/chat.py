"""OpenAI's chat requests in our words: the question, what was asked before it, and what of the rest is heeded. Pure.

The last user message is the question, the user messages before it are what was asked before. Nothing else of a request
reaches the model, so no message can talk it out of the evidence. Whatever changes an answer and can't be had is refused
by its name; what does not is ignored, and the answer says so. docs/api.md has the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from functions.ingress.conversations import MOST_BEFORE, Before
from knts import formats
from knts.errors import BadRequest

DEFAULT = "kn-ts"  # names whichever model answers where none is named
MOST_MESSAGES = 500
LONGEST = 4000  # characters of a question, as in schemas/events/knts.answer.requested.v1.json

_NUMBER, _WHOLE = (int, float), (int,)
# OpenAI's name: the model's option, the JSON types it may have, the least and the most
OPTIONS: Mapping[str, tuple[str, tuple[type, ...], float, float]] = {
    "temperature": ("temperature", _NUMBER, 0, 2),
    "top_p": ("top_p", _NUMBER, 0, 1),
    "presence_penalty": ("presence_penalty", _NUMBER, -2, 2),
    "frequency_penalty": ("frequency_penalty", _NUMBER, -2, 2),
    "seed": ("seed", _WHOLE, -(2**31), 2**31 - 1),
    "max_tokens": ("num_predict", _WHOLE, 1, 2**31 - 1),
    "max_completion_tokens": ("num_predict", _WHOLE, 1, 2**31 - 1),
}
# What can't be had, and the values that ask for nothing of it
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([], ""),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
}
_IGNORED = """
user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention
reasoning_effort verbosity parallel_tool_calls
"""
IGNORED = frozenset(_IGNORED.split())
OWN = ("filters", "max_passages", "cache")  # of the extension field `knts`
READ = frozenset({"model", "messages", "stream", "stream_options", "response_format", "knts"})


@dataclass(frozen=True)
class Asked:
    """What a request asks for: `request` is that of POST /v1/answers; `model` as it was named."""

    model: str
    request: dict[str, Any]
    before: Before
    stream: bool = False
    usage: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def structured(self) -> bool:
        return "format" in self.request


def parse(body: Mapping[str, Any]) -> Asked:
    """The question in a request. Raises BadRequest naming what can't be had, is unknown, or breaks its rule."""
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name in REFUSED and not any(_same(value, harmless) for harmless in REFUSED[name]):
            _bad(name, "is not offered here")
        if name not in READ and name not in REFUSED and name not in OPTIONS and name not in IGNORED:
            _bad(name[:80], "is not a known field")
    model = given.get("model")
    if not isinstance(model, str) or not 1 <= len(model) <= 256:
        _bad("model", "is required and must be a text of 1 to 256 characters")
    question, before, ignored = _conversation(given.get("messages"))
    form = _format(given.get("response_format"))
    options = {option: value for name, (option, value) in _options(given).items() if name in given}
    request = {
        "question": question,
        **({} if model == DEFAULT else {"model": model}),
        **({"options": options} if options else {}),
        **({} if form is None else {"format": form}),
        **_own(given.get("knts", {})),
    }
    ignored += [name for name in given if name in IGNORED]
    return Asked(str(model), request, before, *_streams(given), tuple(ignored))


def _conversation(messages: Any) -> tuple[str, Before, list[str]]:
    """The question, what was asked before, and which messages are not read."""
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_MESSAGES:
        _bad("messages", f"is required and must be a list of 1 to {MOST_MESSAGES} messages")
    said: list[tuple[int, str]] = []
    ignored = []
    last = ""
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role in ("system", "developer"):
            ignored.append(f"{at} ({role})")
            continue
        if role not in ("user", "assistant"):
            _bad(f"{at}.role", "must be user or assistant; system and developer are ignored")
        for name in ("tool_calls", "function_call", "audio"):
            if message.get(name):
                _bad(f"{at}.{name}", "is not offered here")
        last = str(role)
        text = _text(message.get("content"), f"{at}.content", required=role == "user")
        if role == "user":
            said.append((number, text))
    if last != "user":
        _bad("messages", "must end with the user's question")
    number, question = said[-1]
    if not question.strip() or len(question) > LONGEST:
        _bad(f"messages.{number}.content", f"must be a question of 1 to {LONGEST} characters")
    before = [{"question": text[:LONGEST]} for _, text in said[:-1] if text.strip()]
    return question, Before(turns=before[-MOST_BEFORE:]), ignored


def _text(content: Any, at: str, *, required: bool) -> str:
    """A message's text, which may come in parts."""
    if isinstance(content, str):
        return content
    if content is None and not required:
        return ""
    if not isinstance(content, list):
        _bad(at, "must be a text, or a list of text parts")
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "refusal":
            continue
        if kind != "text" or not isinstance(part.get("text"), str):
            _bad(f"{at}.{number}", "must be a text part: images, audio and files are not read")
        texts.append(part["text"])
    return "\n".join(texts)


def _format(wanted: Any) -> Mapping[str, Any] | None:
    """The JSON Schema that a response_format asks for; None for words."""
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        _bad("response_format.type", "must be text, json_object or json_schema")
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    at = "response_format.json_schema.schema"
    if not isinstance(schema, dict):
        _bad(at, "is required and must be an object")
    if rule := formats.fault(schema):
        _bad(at, rule)
    return schema


def _options(given: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The model's options by OpenAI's names, each with its value."""
    for name, (_, types, least, most) in OPTIONS.items():
        value = given.get(name, least)
        if isinstance(value, bool) or not isinstance(value, (int, float) if types is _NUMBER else int):
            _bad(name, "must be a number" if types is _NUMBER else "must be a whole number")
        if not least <= value <= most:
            _bad(name, f"must be between {least} and {most}")
    return {name: (option, given.get(name)) for name, (option, *_) in OPTIONS.items()}


def _own(extension: Any) -> dict[str, Any]:
    """What the extension field asks for; its values are checked with the question's."""
    if not isinstance(extension, Mapping):
        _bad("knts", "must be an object")
    for name in extension:
        if name not in OWN:
            _bad(f"knts.{name}"[:80], f"is not one of {', '.join(OWN)}")
    return dict(extension)


def _streams(given: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the answer is streamed, and whether the stream tells its tokens."""
    stream, options = given.get("stream", False), given.get("stream_options", {})
    if not isinstance(stream, bool):
        _bad("stream", "must be true or false")
    if not isinstance(options, Mapping) or (options and not stream):
        _bad("stream_options", "must be an object, and only of a stream")
    for name, value in options.items():
        if name not in ("include_usage", "include_obfuscation"):
            _bad(f"stream_options.{name}"[:80], "is not a known field")
        if not isinstance(value, bool):
            _bad(f"stream_options.{name}", "must be true or false")
    return stream, bool(options.get("include_usage"))


def renamed(error: BadRequest) -> BadRequest:
    """The same error of a question, its fields by the names that they have in a chat request."""
    faults = [{**fault, "field": _field(fault["field"])} for fault in error.errors]
    return BadRequest(
        "; ".join(f"{fault['field']}: {fault['rule']}" for fault in faults) or error.detail, errors=faults
    )


def _field(name: str) -> str:
    if name.split(".")[0] in OWN:
        return f"knts.{name}"
    return {"question": "messages", "format": "response_format"}.get(name.split(".")[0], name)


def _same(value: Any, other: Any) -> bool:
    """Equal and of the same kind: true is not 1."""
    return type(value) is type(other) and bool(value == other)


def _bad(field_name: str, rule: str) -> NoReturn:
    fault = {"field": field_name, "rule": rule}
    raise BadRequest(f"{field_name}: {rule}", errors=[fault])
