"""The answer as clients get it, composed from what the ask and its generation left behind. Pure.

The same object is the last event of a stream, the JSON answer, and what `GET /v1/answers/{id}` gives for 24 hours.
"""

from collections.abc import Mapping
from typing import Any

from knts import citations

KEPT = ("status", "answer", "model", "citations", "sentences", "withheld", "passages", "usage")
TOLD = ("completed", "abstained")  # by which what the question was taken for is shown too
OPTIONAL = ("stale", "withheld", "reason", "finish_reason", "problem")


def compose(ask: Mapping[str, str], final: Mapping[str, Any]) -> dict[str, Any]:
    """The finished answer.

    `ask` is the ask's hash with its `id`; `final` the final object of its flight, of a cache hit or of a failure.
    Times are ms since the epoch by Redis' clock in both; `timings_ms` counts from when the question came, None where
    unknown.
    """
    answer = {
        "id": ask["id"],
        "question": ask.get("question", ""),
        "status": final.get("status", "failed"),
        "answer": final.get("answer", ""),
        "model": final.get("model", ""),
        "citations": list(final.get("citations", ())),
        "sentences": list(final.get("sentences", ())),
        "passages": list(final.get("passages", ())),
        "cache": ask.get("cache", "miss"),
        "usage": final.get("usage") or {"prompt_tokens": 0, "completion_tokens": 0},
        "timings_ms": _timings(ask, final),
        **({"conversation_id": ask["conversation"]} if "conversation" in ask else {}),
        **({"standalone_question": ask["standalone"]} if "standalone" in ask and final.get("status") in TOLD else {}),
        **({"answered_question": final["answered_from"]["question"]} if "answered_from" in final else {}),
        **{name: final[name] for name in OPTIONAL if name in final},
    }
    return {**answer, "digest": citations.seal(answer)}


def _timings(ask: Mapping[str, str], final: Mapping[str, Any]) -> dict[str, float | None]:
    created = _number(ask.get("created"))
    searched, search = _number(ask.get("at:passages")), _number(ask.get("search_ms"))
    return {
        "queued": None if searched is None else _since(created, searched - (search or 0)),
        "search": search,
        "first_token": _since(created, _number(final.get("first_token_at"))),
        "total": _since(created, _number(final.get("finished_at"))),
    }


def _since(created: float | None, at: float | None) -> float | None:
    """A shared answer may have begun before somebody asked for it: then he waited 0 ms."""
    return None if created is None or at is None else round(max(0.0, at - created), 1)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def from_completed(data: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    """A cached answer.completed as a final object, finished at `at_ms`."""
    final: dict[str, Any] = {name: data[name] for name in KEPT if name in data}
    final["passages"] = list(data.get("passages", ()))
    return {**final, "stale": bool(data.get("stale")), "first_token_at": at_ms, "finished_at": at_ms} | (
        {name: data[name] for name in ("reason", "finish_reason", "answered_from") if data.get(name)}
    )


def frames_of(final: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The frames before the last one that tell a finished answer as if it had been written just now."""
    frames: list[tuple[str, dict[str, Any]]] = [("passages", {"passages": list(final.get("passages", ()))})]
    if final.get("answer"):
        frames.append(("delta", {"text": final["answer"]}))
    return frames + [("citation", dict(citation)) for citation in final.get("citations", ())]


def failure(reason: str, problem: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    """The final object of an answer that could not be given; `problem` is RFC 9457's."""
    return {"status": "failed", "reason": reason, "problem": dict(problem), "finished_at": at_ms}
