"""Ollama's words and llama.cpp's: requests one way, stream lines the other. Pure; the HTTP around it is `api`.

Source: Ollama's docs/api.md and api/types.go for names, defaults and error texts; llama.cpp's server README for the
OpenAI-like requests it takes.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Ollama's option: llama.cpp's field, Ollama's default, whose type it has
OPTIONS: dict[str, tuple[str, Any]] = {
    "num_predict": ("max_tokens", -1),
    "temperature": ("temperature", 0.8),
    "top_p": ("top_p", 0.9),
    "top_k": ("top_k", 40),
    "min_p": ("min_p", 0.0),
    "typical_p": ("typical_p", 1.0),
    "repeat_penalty": ("repeat_penalty", 1.1),
    "repeat_last_n": ("repeat_last_n", 64),
    "presence_penalty": ("presence_penalty", 0.0),
    "frequency_penalty": ("frequency_penalty", 0.0),
    "seed": ("seed", -1),
    "stop": ("stop", []),
}
KINDS = {int: "of type integer", float: "of type float32", list: "of an array of strings"}
UNSUPPORTED = {"tools": "tools", "think": "thinking", "suffix": "insert"}
THINKING = (None, False, True, "high", "medium", "low")
_DURATION = re.compile(r"0|[-+]?(\d+\.?\d*(ns|us|µs|ms|s|m|h))+")
_HOME = ("registry.ollama.ai/", "library/")  # where a model comes from whose name does not say so


class Refused(Exception):
    """The request is answered with this status and Ollama's error body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ask:
    """One generation: where and what to send to llama.cpp, and how its answer is told."""

    model: str
    kind: str
    path: str
    payload: dict[str, Any]
    stream: bool
    unload: bool = False  # keep_alive is 0

    @property
    def empty(self) -> bool:
        """Ollama loads the model and answers at once when there is nothing to say."""
        return not (self.payload.get("messages") or self.payload.get("prompt"))


def chat_ask(body: Mapping[str, Any]) -> Ask:
    """The ask of an /api/chat body. Raises Refused(400) for what this model or Ollama does not take."""
    messages = body.get("messages") or []
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise Refused(400, "messages must be a list of objects")
    return _ask("chat", "/v1/chat/completions", body, {"messages": [_message(message) for message in messages]})


def generate_ask(body: Mapping[str, Any]) -> Ask:
    """The ask of an /api/generate body: one user message, or with `raw` the prompt as it stands."""
    prompt, system = _text(body, "prompt"), _text(body, "system")
    if body.get("raw") is True:
        return _ask("generate", "/v1/completions", body, {"prompt": prompt})
    turns = [("system", system), ("user", prompt)]
    messages = [{"role": role, "content": content} for role, content in turns if content] if prompt else []
    return _ask("generate", "/v1/chat/completions", body, {"messages": messages})


def _ask(kind: str, path: str, body: Mapping[str, Any], turns: dict[str, Any]) -> Ask:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "model is required")
    if (think := body.get("think")) not in THINKING:
        raise Refused(400, f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)')
    for name, what in UNSUPPORTED.items():
        if body.get(name):
            raise Refused(400, f'"{model}" does not support {what}')
    stream = body.get("stream")
    if stream not in (None, True, False):
        raise Refused(400, "stream must be true or false")
    payload = turns | options(body.get("options")) | _format(body.get("format"))
    payload |= {"stream": True, "stream_options": {"include_usage": True}}
    payload["cache_prompt"] = False  # what was read before would change the rounding, and so the words, of this answer
    return Ask(model, kind, path, payload, stream is not False, unload=_put_away(body.get("keep_alive")))


def plain_name(model: str) -> str:
    """A model's name as Ollama lists it, from one that says where it comes from, in capitals perhaps."""
    name = model.lower()
    for home in _HOME:
        name = name.removeprefix(home)
    return name


def _put_away(keep_alive: Any) -> bool:
    """Whether the model is to be kept for no time at all. Raises Refused for what is no duration."""
    if isinstance(keep_alive, str) and _DURATION.fullmatch(keep_alive):
        return not re.search("[1-9]", keep_alive)
    if isinstance(keep_alive, str):
        raise Refused(400, f'time: invalid duration "{keep_alive}"')
    if isinstance(keep_alive, bool) or not isinstance(keep_alive, (int, float, type(None))):
        raise Refused(400, f"Unsupported type: '{type(keep_alive).__name__}'")
    return keep_alive == 0


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise Refused(400, f"{name} must be a string")
    return value


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    """Images are left out, as Ollama does for a model that takes none."""
    return {"role": _text(message, "role").lower(), "content": _text(message, "content")}


def options(given: Any) -> dict[str, Any]:
    """llama.cpp's sampling fields, Ollama's defaults where nothing is given; unknown options are ignored as there.

    Raises Refused: Ollama says 500 to a value of the wrong type, and cuts what stands behind a whole number's point.
    """
    if given is not None and not isinstance(given, dict):
        raise Refused(400, "options must be an object")
    given = given or {}
    sampling: dict[str, Any] = {}
    for name, (field_name, default) in OPTIONS.items():
        value = default if given.get(name) is None else given[name]
        if not _is(value, type(default)):
            raise Refused(500, f'option "{name}" must be {KINDS[type(default)]}')
        sampling[field_name] = value if isinstance(value, list) else type(default)(value)
    if sampling["max_tokens"] <= 0:  # 0, -1 and -2 all mean: until the model stops or the context is full
        sampling["max_tokens"] = -1
    return sampling


def _is(value: Any, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _format(wanted: Any) -> dict[str, Any]:
    if not wanted:
        return {}
    if wanted == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(wanted, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": wanted}}}
    raise Refused(500, f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object')


@dataclass
class Progress:
    """What has come from llama.cpp so far."""

    text: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def feed(self, chunk: Mapping[str, Any]) -> str:
        """Take one chunk in; the text that it adds. Raises Refused for an error chunk."""
        if "error" in chunk:
            raise Refused(500, str(chunk["error"].get("message", chunk["error"])))
        self.usage = chunk.get("usage") or self.usage
        self.timings = chunk.get("timings") or self.timings
        added = ""
        for choice in chunk.get("choices") or []:
            added += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            self.finish = choice.get("finish_reason") or self.finish
        if added:
            self.text.append(added)
        return added


def text_line(ask: Ask, text: str) -> dict[str, Any]:
    """One line that carries text; the line of the end carries none."""
    return {"model": ask.model, "created_at": now(), **said(ask.kind, text), "done": False}


def said(kind: str, text: str) -> dict[str, Any]:
    """The text in the field where /api/chat or /api/generate carries it."""
    return {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"response": text}


def text_of(line: Mapping[str, Any]) -> str:
    """The text that one line carries."""
    return str(line["message"]["content"] if "message" in line else line["response"])


def done_line(ask: Ask, progress: Progress, total_ns: int) -> dict[str, Any]:
    """The last line: why it ended, token counts, durations in nanoseconds."""
    timings, usage = progress.timings, progress.usage
    return text_line(ask, "") | {
        "done": True,
        "done_reason": progress.finish or "stop",
        "total_duration": total_ns,
        "load_duration": 0,
        "prompt_eval_count": usage.get("prompt_tokens", 0),
        "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
        "eval_count": usage.get("completion_tokens", 0),
        "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
    }


def loaded_line(ask: Ask) -> dict[str, Any]:
    """What an ask that says nothing is answered. The model stays loaded here even where it is told to go."""
    return text_line(ask, "") | {"done": True, "done_reason": "unload" if ask.unload else "load"}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
