"""How an answer ends: the final objects that readers get, and the events that tell of them. Pure.

A final object is enough to give the same reply again when an event is delivered twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from functions.llm_answer.counting import tokens
from knts import answers, errors, events
from knts.answer_keys import answer_key, evidence_of, family_key, fast_key, reworded_key
from knts.embeddings import Meaning, packed
from knts.events import Event
from knts.line import Place, model_name, ticket_of

NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0}


@dataclass(frozen=True)
class Asked:
    """One event that asks for an answer from passages.

    `asked_at` is when its question came, in ms by Redis' clock; `leaned` says that it was made of its asker's
    conversation.
    """

    event: Event
    request: Mapping[str, Any]
    passages: list[dict[str, Any]]
    index_token: str
    default_model: str
    ticket: str = ""
    asked_at: int = 0
    leaned: bool = False

    @classmethod
    def of(cls, event: Event, default_model: str, ask: Mapping[str, str] = MappingProxyType({})) -> "Asked":
        """What a passages.found event asks for; `default_model` is meant where it names none. `ask` is its ask."""
        data = event.payload
        found = (data["request"], data["passages"], data["index_token"])
        noted = (ask.get("ticket", ""), int(ask.get("created", 0)), "standalone" in ask)
        return cls(event, *found, default_model, *noted)

    @property
    def id(self) -> str:
        """The ask's id."""
        return self.event.correlation_id

    @property
    def question(self) -> str:
        return str(self.request["question"])

    @property
    def mode(self) -> str:
        """use, refresh or off."""
        return str(self.request.get("cache", "use"))

    @property
    def strict(self) -> bool:
        """Whether only sentences that a passage supports may be shown."""
        return bool(self.request.get("strict"))

    @property
    def format(self) -> Mapping[str, Any] | None:
        """The JSON Schema that the answer is to have; None for words."""
        return self.request.get("format")

    @property
    def fast_key(self) -> str | None:
        """The key by which ingress may find this answer, or None."""
        if self.mode == "off" or not self.index_token:
            return None
        groups = self.request["groups"]
        return fast_key(self.index_token, self.event.tenant, groups, self.request, self.default_model)


@dataclass(frozen=True)
class Work:
    """What is asked of which model; everything that the answer's key is made of.

    `fallback`: of the model that answers where the default one can't.
    """

    asked: Asked
    model: str = ""
    model_digest: str = ""
    fallback: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    prompt_version: str = ""
    messages: Sequence[Mapping[str, str]] = ()
    shown: Sequence[dict[str, Any]] = ()
    marks: Sequence[str] = ()  # lines of the prompt's own, which no answer has
    surely: Sequence[Mapping[str, str]] = ()  # less of the same, where it is not certain that `messages` fit
    meaning: Meaning | None = None  # of the question, where the semantic tier is on and could have it
    judged: bool = False  # whether a reader is to be asked first; the prompt's version then names it

    @cached_property
    def key(self) -> str:
        """The answer's key."""
        return answer_key(*self._of, self.asked.question, evidence_of(self.shown))

    @property
    def family(self) -> str:
        """The key of the answers that another wording may have; empty without a `meaning`."""
        return family_key(*self._of, self.meaning.model) if self.meaning else ""

    @property
    def _of(self) -> tuple[str, Sequence[str], str, Mapping[str, Any], str]:
        """All that an answer is of but its question and evidence."""
        asked = self.asked
        options = self.options if asked.format is None else {**self.options, "format": asked.format}
        return asked.event.tenant, asked.request["groups"], self.model_digest, options, self.prompt_version

    @property
    def flight_key(self) -> str:
        """The key by which askers meet; one who wants no cache shares with nobody."""
        return f"{self.key}:{self.asked.id}" if self.asked.mode == "off" else self.key

    @property
    def place(self) -> Place:
        """Where it begins to wait for one of its model's slots: by the ticket that its ask came with, if it did."""
        ticket = self.asked.ticket or ticket_of(self.asked.event.tenant, self.flight_key)
        return Place(f"{model_name(self.model)}{'@fallback' if self.fallback else ''}", ticket, place=1)


def final(status: str, work: Work, at_ms: int, **more: Any) -> dict[str, Any]:
    """The final object of an answer. `more` are its answer, citations, usage, reason, times and so on."""
    return {
        "status": status,
        "answer": "",
        "model": work.model,
        **({"key": work.key, "fallback": work.fallback} if work.model else {}),
        **({"family": work.family} if work.meaning else {}),
        "citations": [],
        "sentences": [],
        "passages": list(work.shown),
        "usage": NO_TOKENS,
        "stale": False,
        "finished_at": at_ms,
        **more,
    }


def read_tokens(work: Work) -> int:
    """About how many tokens the model has read, where it was not left to say so itself."""
    return sum(tokens(message["content"]) for message in work.messages)


def abstained(asked: Asked, reason: str, at_ms: int) -> tuple[Work, dict[str, Any]]:
    """The end of a question that is not put to a model: its evidence alone decided, so no model is in its key.

    Its passages are the nearest there are, to be offered instead of an answer.
    """
    work = Work(asked, prompt_version=f"abstention: {reason}", shown=asked.passages)
    return work, final("abstained", work, at_ms, reason=reason)


def reworded(work: Work, known: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    """The end of a question that the answer.completed known of another wording answers: its words, beside what was
    found for ours.

    It has a key of its own: nobody who asks anew gets it without the judge, but for who asks while nothing has changed.
    """
    return {
        **answers.from_completed(known, at_ms),
        "key": reworded_key(work.key, evidence_of(work.asked.passages), known["key"]),
        "fallback": work.fallback,
        "passages": work.asked.passages,
        "usage": NO_TOKENS,
        "answered_from": {name: known[name] for name in ("question", "key", "evidence")},
    }


def failed(work: Work, error: errors.KntsError, at_ms: int, **more: Any) -> dict[str, Any]:
    """The end of a question that could not be answered, in words and as a problem.

    An error that names fields of the request is the asker's to mend.
    """
    told = errors.BadRequest(error.detail, errors=error.errors) if error.errors else errors.UpstreamFailed(error.detail)
    problem = errors.problem(told)
    return final("failed", work, at_ms) | answers.failure(error.detail, problem, at_ms) | more


def reply(work: Work, end: Mapping[str, Any], *, cache: str = "miss") -> Event:
    """The event that tells how the answer ended."""
    event_type, data = _REPLIES[end["status"]]
    return events.reply_to(
        work.asked.event, event_type, "/knts/llm-answer", data(work, end, cache), subject=work.asked.id
    )


def _completed(work: Work, end: Mapping[str, Any], cache: str) -> dict[str, Any]:
    asked = work.asked
    data = {
        "question": asked.question,
        "key": end.get("key", work.key),  # the flight may have ended with another model than it began with
        "fast_key": None if end.get("fallback", work.fallback) else asked.fast_key,
        "status": end["status"],
        "answer": end["answer"],
        "model": end["model"],
        "citations": end["citations"],
        "sentences": end.get("sentences", []),
        "withheld": end.get("withheld"),
        "passages": end["passages"],
        "evidence": evidence_of(end["passages"]),
        "usage": end["usage"],
        "cache": cache,
        "cacheable": asked.mode != "off" and not end["stale"],
        "stale": end["stale"],
        "index_token": asked.index_token,
        "groups": list(asked.request["groups"]),
        "reason": end.get("reason"),
        "finish_reason": end.get("finish_reason"),
        "wording": _wording(work, end),
        "answered_from": end.get("answered_from"),
    }
    return {name: value for name, value in data.items() if value is not None}


def _wording(work: Work, end: Mapping[str, Any]) -> dict[str, Any] | None:
    """By which other wordings find an answer; None for one that is not to be found so.

    That is one that cites nothing, and one whose question has words of its asker's conversation: those are his.
    """
    asked = work.asked
    if work.meaning is None or "family" not in end or not end["citations"] or not asked.asked_at or asked.leaned:
        return None
    return {"family": end["family"], "embedding": packed(work.meaning.vector), "asked_at": asked.asked_at}


def _failed(work: Work, end: Mapping[str, Any], _: str) -> dict[str, Any]:
    return {"question": work.asked.question, "reason": end["reason"][:2000]} | _keyed(work)


def _cancelled(work: Work, _: Mapping[str, Any], __: str) -> dict[str, Any]:
    return {"question": work.asked.question} | _keyed(work)


def _keyed(work: Work) -> dict[str, Any]:
    return {"key": work.key} if work.model else {}


_REPLIES = {
    "completed": (events.ANSWER_COMPLETED, _completed),
    "abstained": (events.ANSWER_COMPLETED, _completed),
    "failed": (events.ANSWER_FAILED, _failed),
    "cancelled": (events.ANSWER_CANCELLED, _cancelled),
}
