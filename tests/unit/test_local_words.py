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
        assert refused.status == 500
    else:
        assert set(sampling) == {field for field, _ in words.OPTIONS.values()}


@pytest.mark.parametrize(
    ("change", "said", "status"),
    [
        ({"model": ""}, "model is required", 400),
        ({"model": 3}, "model is required", 400),
        ({"messages": "hello"}, "list of objects", 400),
        ({"messages": ["hello"]}, "list of objects", 400),
        ({"messages": [{"role": 7, "content": "x"}]}, "role must be a string", 400),
        ({"messages": [{"role": "user", "content": 3}]}, "content must be a string", 400),
        ({"options": []}, "options must be an object", 400),
        ({"options": {"stop": "x"}}, 'option "stop" must be of an array of strings', 500),
        ({"options": {"stop": [1]}}, 'option "stop" must be of an array of strings', 500),
        ({"options": {"temperature": True}}, 'option "temperature" must be of type float32', 500),
        ({"options": {"seed": "x"}}, 'option "seed" must be of type integer', 500),
        ({"stream": "yes"}, "stream must be", 400),
        ({"format": "xml"}, "invalid format", 500),
        ({"tools": [{}]}, "does not support tools", 400),
        ({"think": True}, "does not support thinking", 400),
        ({"think": "huge"}, "invalid think value", 400),
        ({"keep_alive": "soon"}, 'invalid duration "soon"', 400),
        ({"keep_alive": "-1"}, 'invalid duration "-1"', 400),
        ({"keep_alive": True}, "Unsupported type", 400),
    ],
)
def test_what_a_chat_may_not_say(change: dict[str, Any], said: str, status: int) -> None:
    with pytest.raises(Refused, match=said) as caught:
        words.chat_ask({**HELLO, **change})
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("keep_alive", "unload"),
    [(0, True), ("0s", True), ("0", True), ("30m", False), (-1, False), (None, False), (1.5, False), ("1h0m", False)],
)
def test_a_model_is_put_away_by_keeping_it_for_no_time(keep_alive: Any, *, unload: bool) -> None:
    assert words.chat_ask({**HELLO, "keep_alive": keep_alive}).unload is unload


def test_what_is_no_whole_number_is_cut_and_null_is_nothing_given() -> None:
    sampling = words.options({"seed": 1.9, "temperature": None, "top_p": 1})
    assert (sampling["seed"], sampling["temperature"], sampling["top_p"]) == (1, 0.8, 1.0)


@pytest.mark.parametrize("name", ["m", "M", "library/m", "registry.ollama.ai/library/m"])
def test_a_models_name_may_say_where_it_comes_from(name: str) -> None:
    assert words.plain_name(name) == "m"


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
