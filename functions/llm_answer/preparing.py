"""What is asked of which model: the one that was asked for, or the fallback where the default one can't be had."""

import logging
from collections.abc import Sequence
from typing import Any

from functions.llm_answer import judging
from functions.llm_answer.outcome import Asked, Work
from functions.llm_answer.ports import Models, Tools
from functions.llm_answer.prompt import Prompt, compose
from knts.answer_keys import PROMPT_VERSION
from knts.clients.ollama import OllamaAway, UnknownModel

log = logging.getLogger(__name__)


async def prepared(asked: Asked, tools: Tools) -> Work:
    """The work of the model that was asked for; the fallback's where that is the default one, and away or unknown.

    Raises Permanent for an unknown model or option, Temporary when Ollama is away.
    """
    try:
        return await _of(asked, tools, tools.models)
    except (OllamaAway, UnknownModel) as error:
        if (instead := await fallback(asked, tools)) is None:
            raise
        log.warning("the fallback answers: %s", error.detail)
        return instead


async def fallback(asked: Asked, tools: Tools) -> Work | None:
    """The work of the fallback model; None where there is none, it can't be had, or a model was asked for by name."""
    if tools.fallback is None or asked.request.get("model"):
        return None
    try:
        return await _of(asked, tools, tools.fallback, fallback=True)
    except (OllamaAway, UnknownModel) as error:
        log.warning("the fallback can't answer either: %s", error.detail)
        return None


async def _of(asked: Asked, tools: Tools, models: Models, *, fallback: bool = False) -> Work:
    named = asked.request.get("model")
    try:
        model = await models.model(named)
    except UnknownModel as error:
        if not named:
            raise
        raise UnknownModel(error.detail, errors=[{"field": "model", "rule": error.detail}]) from error
    options = asked.request.get("options", {})

    def composed(passages: Sequence[dict[str, Any]], factor: float | None) -> Prompt:
        limits = (model.context, tools.limits.budget)
        return compose(asked.question, passages, options, *limits, asked.format, factor)

    made = composed(asked.passages, tools.learned.factor(model.digest) if model.refuses else None)
    surely = () if made.certain or not model.refuses else composed(made.shown, None).messages
    # The same evidence may be shown more or less of, and less may be shown of the same answer.
    room = "" if made.room is None else f"/{made.room}"
    judge = await judging.version(tools)
    version = f"{PROMPT_VERSION}/{tools.limits.prompt}{room}{'/strict' if asked.strict else ''}{judge}"
    what = (made.options, version, made.messages, made.shown, made.marks, surely)
    return Work(asked, model.name, model.digest, fallback, *what, judged=bool(judge))
