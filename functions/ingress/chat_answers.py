"""Answers as OpenAI's clients read them: completions, chunks, errors, models. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions.ingress.chat import DEFAULT, Asked
from functions.ingress.failures import told
from knts import channel
from knts.errors import KntsError, UpstreamFailed

ABSTAINED, NEAREST = "The documents do not tell", "Nearest to it"
AGAIN = "\n\n"  # before an answer that was begun anew in other words, since what was sent can't be taken back
TOLD = (
    "id", "status", "model", "question", "standalone_question", "answered_question", "reason", "stale", "cache",
    "citations", "timings_ms",
)  # fmt: skip

_MARKUP = re.compile(r"[\[\]<>`!*|\\]")

Linked = Callable[[Mapping[str, Any]], str]  # a citation's web address


def completion(asked: Asked, answer: Mapping[str, Any], created: int, linked: Linked) -> dict[str, Any]:
    """A finished answer as `chat.completion`. Raises KntsError for one that has failed or was cancelled."""
    if error := failure(answer):
        raise error
    said, refusal = content(asked, answer)
    message = {"role": "assistant", "content": said, "refusal": refusal, "annotations": annotations(answer, linked)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
    return {
        "id": completion_id(answer["id"]),
        "object": "chat.completion",
        "created": created,
        "model": asked.model,
        "choices": [choice],
        "usage": usage(answer),
        "knts": extension(asked, answer, linked),
    }


def content(asked: Asked, answer: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """A completion's content and refusal.

    What abstains says so in words, and names the nearest documents; where JSON was asked for, it is a refusal.
    """
    if answer["status"] != channel.ABSTAINED:
        return answer["answer"], None
    words = f"{ABSTAINED}: {answer['reason']}." if answer.get("reason") else f"{ABSTAINED}."
    if asked.structured:
        return None, words
    titles = list(dict.fromkeys(map(_title, answer.get("passages", ()))))
    offered = f"{AGAIN}{NEAREST}: {'; '.join(titles)}" if titles else ""
    return (answer["answer"] or words) + offered, None


def _title(passage: Mapping[str, Any]) -> str:
    """A document's title as plain words: what chat clients would make a link, an image or markup of is left out."""
    return " ".join(_MARKUP.sub(" ", passage["title"] or passage["document_id"]).split())


def failure(answer: Mapping[str, Any]) -> KntsError | None:
    """Why there is no answer, as an error."""
    if answer["status"] == channel.FAILED:
        return told(answer, id=answer["id"])
    if answer["status"] == channel.CANCELLED:
        return UpstreamFailed("the answer was cancelled", id=answer["id"])
    return None


def annotations(answer: Mapping[str, Any], linked: Linked, shift: int = 0) -> list[dict[str, Any]]:
    """The citations as `url_citation`s, each with our own names beside OpenAI's; indexes count code points."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": citation["answer_start"] + shift,
                "end_index": citation["answer_end"] + shift,
                "title": citation.get("title", ""),
                "url": citation.get("url") or linked(citation),
                **{name: citation[name] for name in ("document_id", "version", "start", "end", "quote", "sha256")},
            },
        }
        for citation in answer["citations"]
    ]


def finish_reason(answer: Mapping[str, Any]) -> str:
    """`length` where the model's limit ended it; an abstention has stopped as any other."""
    return str(answer.get("finish_reason", "stop"))


def usage(answer: Mapping[str, Any]) -> dict[str, int]:
    """The tokens by OpenAI's names."""
    read, written = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def extension(asked: Asked, answer: Mapping[str, Any], linked: Linked) -> dict[str, Any]:
    """What OpenAI has no names for: the answer's id and state, its citations as they are, what was ignored.

    What abstains offers the nearest documents.
    """
    found = {name: answer[name] for name in TOLD if name in answer}
    if answer["status"] == channel.ABSTAINED:
        found["nearest"] = [nearest(each, linked) for each in answer.get("passages", ())]
    return {**found, "ignored": list(asked.ignored)}


def nearest(passage: Mapping[str, Any], linked: Linked) -> dict[str, Any]:
    """A passage that is offered instead of an answer: where it stands, without its text."""
    place = {name: passage.get(name) for name in ("document_id", "version", "title", "section", "start", "end")}
    return {**place, "url": passage.get("url") or linked(passage)}


def completion_id(ask_id: str) -> str:
    """The completion's id, which names the answer."""
    return f"chatcmpl-{ask_id}"


@dataclass
class Chunks:
    """An answer's events as `chat.completion.chunk`s.

    What was sent can't be taken back: after a `reset` nothing is sent until the new words go beyond the sent ones.
    Where they are others, the whole answer follows behind a blank line; where they end sooner, `knts.answer` has it.
    """

    asked: Asked
    ask_id: str
    created: int
    linked: Linked
    sent: str = ""
    text: str = ""
    begun: bool = False
    ended: bool = field(default=False, init=False)

    def take(self, event_type: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What an event adds; an error as `{"error": …}`, after which nothing follows."""
        if event_type == channel.DELTA:
            self.text += data["text"]
            return self._more()
        if event_type == channel.RESET:
            self.text = ""
        if event_type in channel.LAST:
            self.ended = True
            return self._last(data)
        return []

    def _more(self) -> list[dict[str, Any]]:
        if len(self.text) <= len(self.sent) or not self.text.startswith(self.sent):
            return []
        more, self.sent = self.text[len(self.sent) :], self.text
        return [*self._begin(), self._chunk({"content": more})]

    def _begin(self) -> list[dict[str, Any]]:
        if self.begun:
            return []
        self.begun = True
        return [self._chunk({"role": "assistant", "content": "", "refusal": None})]

    def _last(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        if error := failure(answer):
            return [envelope(error)]
        said, refusal = content(self.asked, answer)
        whole, shift = said or "", 0
        if not whole.startswith(self.sent) and not self.sent.startswith(whole):
            if self.asked.structured:
                return [envelope(UpstreamFailed("the answer was begun anew; ask again", id=answer["id"]))]
            shift = len(self.sent) + len(AGAIN)
            whole = self.sent + AGAIN + whole
        self.text = whole
        chunks = [*self._begin(), *self._more()]
        if refusal:
            chunks.append(self._chunk({"refusal": refusal}))
        own = extension(self.asked, answer, self.linked) | (
            {"answer": said} if said is not None and said != self.sent else {}
        )
        delta = {"annotations": found} if (found := annotations(answer, self.linked, shift)) else {}
        chunks.append({**self._chunk(delta, finish_reason(answer)), "knts": own})
        if self.asked.usage:
            chunks.append({**self._chunk({}), "choices": [], "usage": usage(answer)})
        return chunks

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": finish}
        return {
            "id": completion_id(self.ask_id),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.asked.model,
            "choices": [choice],
            **({"usage": None} if self.asked.usage else {}),
        }


# -- errors and models ------------------------------------------------------------------------------------------------

_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def envelope(error: KntsError) -> dict[str, Any]:
    """An error as OpenAI's clients read it; `param` is the first of the fields that it names."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    code = "invalid_api_key" if error.status == 401 else error.slug.replace("-", "_")
    param = error.errors[0]["field"] if error.errors else None
    return {"error": {"message": error.detail, "type": kind, "param": param, "code": code}}


def model(name: str) -> dict[str, Any]:
    """A model as `GET /v1/models` lists it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "kn-ts" if name == DEFAULT else "ollama"}


def models(names: Sequence[str]) -> dict[str, Any]:
    """The list of models, the default first."""
    return {"object": "list", "data": [model(name) for name in (DEFAULT, *names)]}
