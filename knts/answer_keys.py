"""The keys that answers are cached and shared by: digests of everything that an answer depends on. Pure.

The answer key covers the evidence, so an answer whose evidence has changed is never found. The fast key covers the
tenant's index token instead, so that ingress can ask before anything has been retrieved. Of the model it covers the
name, not the digest, since ingress does not ask Ollama.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from knts.embeddings import Model

PROMPT_VERSION = "4"  # of llm-answer's prompt, rules of abstention and citations: another one, other answers

Evidence = Sequence[tuple[str, int, int]]  # (document id, version, chunk) in the order that the prompt shows

_TERMINAL = " .?!…。？！"


def normalise_question(question: str) -> str:
    """The question without differences of Unicode form, case, spacing and terminal punctuation.

    Punctuation alone is kept, so that no question becomes empty.
    """
    # Twice, since NFKC may bring capitals and full-width letters to light that only a second folding sees.
    folded = _fold(_fold(question))
    spaced = " ".join(folded.split())
    return spaced.rstrip(_TERMINAL) or spaced


def evidence_of(passages: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """The (document id, version, chunk) list of passages, in their order; one joined of several chunks has them all."""
    return [
        (passage["document_id"], passage["version"], chunk)
        for passage in passages
        for chunk in range(passage["chunk"], passage.get("last_chunk", passage["chunk"]) + 1)
    ]


def answer_key(
    tenant: str,
    groups: Iterable[str],
    model_digest: str,
    options: Mapping[str, Any],
    prompt_version: str,
    question: str,
    evidence: Evidence,
) -> str:
    """The key, 64 hex digits, of the one answer to this question, by this model, from this evidence, in this scope."""
    scope = [tenant, sorted(set(groups))]
    return _digest(["answer", scope, model_digest, options, prompt_version, normalise_question(question), evidence])


def family_key(
    tenant: str,
    groups: Iterable[str],
    model_digest: str,
    options: Mapping[str, Any],
    prompt_version: str,
    embedder: Model,
) -> str:
    """The key, 64 hex digits, of all answers that differ in their question and evidence alone.

    `embedder` made the embeddings that their questions are compared by; those of another one are another family.
    """
    scope = [tenant, sorted(set(groups))]
    made_by = [embedder.name, embedder.dimension]
    return _digest(["family", scope, model_digest, options, prompt_version, made_by])


def reworded_key(key: str, found: Evidence, known: str) -> str:
    """The key, 64 hex digits, by which the answer stored under `known` is kept for who asks for that of `key` and was
    found this; nobody finds it by an answer key.
    """
    return _digest(["reworded", key, found, known])


def fast_key(
    token: str, tenant: str, groups: Iterable[str], request: Mapping[str, Any], model: str, prompt: str = PROMPT_VERSION
) -> str:
    """The key, 64 hex digits, of a request while nothing of the tenant has changed since `token` was read.

    `request` is the data of answer.requested; its `groups` and `cache` are not looked at. `model` is the name of the
    one that answers where the request names none, `prompt` the version of the prompt.
    """
    asked = {name: value for name, value in request.items() if name not in ("question", "groups", "cache")}
    scope = [tenant, sorted(set(groups))]
    return _digest(["fast", token, scope, prompt, normalise_question(request["question"]), {"model": model, **asked}])


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
