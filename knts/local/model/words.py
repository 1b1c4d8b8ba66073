"""Ollama's words and llama.cpp's: requests one way, stream lines the other. Pure; the HTTP around it is `api`.

Source: Ollama's docs/api.md and api/types.go for names, defaults and error texts; llama.cpp's server README for the
OpenAI-like requests it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Ollama's option: llama.cpp's field, the JSON types it may have, Ollama's default
OPTIONS: dict[str, tuple[str, tuple[type, ...], Any]] = {
    "num_predict": ("max_tokens", (int,), -1),
    "temperature": ("temperature", (int, float), 0.8),
    "top_p": ("top_p", (int, float), 0.9),
    "top_k": ("top_k", (int,), 40),
    "min_p": ("min_p", (int, float), 0.0),
    "typical_p": ("typical_p", (int, float), 1.0),
    "repeat_penalty": ("repeat_penalty", (int, float), 1.1),
    "repeat_last_n": ("repeat_last_n", (int,), 64),
    "presence_penalty": ("presence_penalty", (int, float), 0.0),
    "frequency_penalty": ("frequency_penalty", (int, float), 0.0),
    "seed": ("seed", (int,), -1),
    "stop": ("stop", (list,), []),
}
UNSUPPORTED = {"tools": "tools", "think": "thinking", "suffix": "insert"}
ROLES = ("system", "user", "assistant")


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
    for name, what in UNSUPPORTED.items():
        if body.get(name):
            raise Refused(400, f'"{model}" does not support {what}')
    stream = body.get("stream")
    if stream not in (None, True, False):
        raise Refused(400, "stream must be true or false")
    payload = turns | options(body.get("options") or {}) | _format(body.get("format"))
    payload |= {"stream": True, "stream_options": {"include_usage": True}}
    payload["cache_prompt"] = False  # what was read before would change the rounding, and so the words, of this answer
    return Ask(model, kind, path, payload, stream is not False)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise Refused(400, f"{name} must be a string")
    return value


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role = message.get("role")
    if role not in ROLES:
        raise Refused(400, f"invalid role: {role}; must be one of {', '.join(ROLES)}")
    if message.get("images"):
        raise Refused(400, "this model takes no images")
    return {"role": role, "content": _text(message, "content")}


def options(given: Any) -> dict[str, Any]:
    """llama.cpp's sampling fields, Ollama's defaults where nothing is given; unknown options are ignored as there."""
    if not isinstance(given, dict):
        raise Refused(400, "options must be an object")
    sampling: dict[str, Any] = {}
    for name, (field_name, types, default) in OPTIONS.items():
        value = given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, types):
            raise Refused(400, f'option "{name}" must be of type {" or ".join(kind.__name__ for kind in types)}')
        sampling[field_name] = value
    if sampling["max_tokens"] <= 0:  # 0, -1 and -2 all mean: until the model stops or the context is full
        sampling["max_tokens"] = -1
    return sampling


def _format(wanted: Any) -> dict[str, Any]:
    if not wanted:
        return {}
    if wanted == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(wanted, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": wanted}}}
    raise Refused(400, f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object')


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
    """What an ask that says nothing is answered."""
    return text_line(ask, "") | {"done": True, "done_reason": "load"}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
