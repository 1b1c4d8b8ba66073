"""Ollama's requests become llama.cpp's, and llama.cpp's chunks become Ollama's lines."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.local.model import words
from knts.local.model.words import Progress, Refused

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_a_chat_without_options_gets_ollamas_defaults() -> None:
    ask = words.chat_ask(HELLO)
    assert ask.path == "/v1/chat/completions"
    assert ask.stream is True
    assert ask.payload["messages"] == HELLO["messages"]
    sampling = {name: ask.payload[name] for name in ("temperature", "top_p", "top_k", "max_tokens", "repeat_penalty")}
    assert sampling == {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "max_tokens": -1, "repeat_penalty": 1.1}


@given(st.integers(max_value=0))
def test_no_bound_is_said_in_several_ways(number: int) -> None:
    assert words.options({"num_predict": number})["max_tokens"] == -1


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.floats()))
def test_options_are_taken_or_refused_and_never_a_bug(given_options: dict[str, Any]) -> None:
    try:
        sampling = words.options(given_options)
    except Refused as refused:
        assert refused.status == 400
    else:
        assert set(sampling) == {field for field, _, _ in words.OPTIONS.values()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": ""}, "model is required"),
        ({"model": 3}, "model is required"),
        ({"messages": "hello"}, "list of objects"),
        ({"messages": ["hello"]}, "list of objects"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid role"),
        ({"messages": [{"role": "user", "content": 3}]}, "content must be a string"),
        ({"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}, "no images"),
        ({"options": []}, None),
        ({"options": [1]}, "options must be an object"),
        ({"options": {"stop": "x"}}, 'option "stop" must be of type list'),
        ({"options": {"temperature": True}}, 'option "temperature"'),
        ({"stream": "yes"}, "stream must be"),
        ({"format": "xml"}, "invalid format"),
        ({"tools": [{}]}, "does not support tools"),
        ({"think": True}, "does not support thinking"),
    ],
)
def test_what_a_chat_may_not_say(change: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert words.chat_ask({**HELLO, **change}).payload["temperature"] == 0.8
        return
    with pytest.raises(Refused, match=said) as caught:
        words.chat_ask({**HELLO, **change})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (None, None),
        ("", None),
        ("json", {"type": "json_object"}),
        ({"type": "object"}, {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
    ],
)
def test_formats(wanted: Any, sent: Any) -> None:
    assert words.chat_ask({**HELLO, "format": wanted}).payload.get("response_format") == sent


def test_generate_is_one_turn_or_the_raw_prompt() -> None:
    turn = words.generate_ask({"model": "m", "prompt": "p", "system": "s"})
    assert [message["role"] for message in turn.payload["messages"]] == ["system", "user"]
    raw = words.generate_ask({"model": "m", "prompt": "p", "raw": True, "stream": False})
    assert (raw.path, raw.payload["prompt"], raw.stream) == ("/v1/completions", "p", False)


def test_an_ask_without_words_is_empty() -> None:
    assert words.generate_ask({"model": "m"}).empty
    assert words.chat_ask({"model": "m"}).empty
    assert not words.chat_ask(HELLO).empty


def test_chunks_become_text_and_counts() -> None:
    ask, progress = words.chat_ask(HELLO), Progress()
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": "Par"}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": "is"}, "finish_reason": None}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
            "timings": {"prompt_ms": 1.5, "predicted_ms": 2.0},
        },
    ]
    assert "".join(progress.feed(chunk) for chunk in chunks) == "Paris"
    done = words.done_line(ask, progress, 5_000_000)
    assert done["message"]["content"] == ""
    assert (done["done"], done["done_reason"]) == (True, "length")
    assert (done["prompt_eval_count"], done["eval_count"]) == (7, 2)
    assert (done["prompt_eval_duration"], done["eval_duration"], done["total_duration"]) == (
        1_500_000,
        2_000_000,
        5_000_000,
    )


def test_an_error_chunk_is_raised() -> None:
    with pytest.raises(Refused, match="out of memory"):
        Progress().feed({"error": {"message": "out of memory"}})
