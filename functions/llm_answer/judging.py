"""Asks the reader, where there is one, whether what the model would be shown holds the answer.

The leader of a flight asks it while it holds one of the model's slots, so it reads no more at once than answers are
written, and once for all who ask the same. It only ever keeps from answering: without its verdict in time, the model
answers as if there were no reader.
"""

import asyncio
import contextlib
import logging

from functions.llm_answer import reader
from functions.llm_answer.abstention import NOT_FOUND
from functions.llm_answer.outcome import Work
from functions.llm_answer.ports import Judge, Tools
from functions.llm_answer.reader import NoVerdict
from knts.clients.ollama import Model
from knts.errors import Permanent, Temporary

log = logging.getLogger(__name__)


async def version(tools: Tools) -> str:
    """What stands for the reader in an answer's key; empty where there is none, or it can't be had."""
    if tools.judge is None or (model := await _model(tools.judge)) is None:
        return ""
    return f"/reader {reader.VERSION} {model.name} {model.digest}"


async def doubt(work: Work, tools: Tools) -> str | None:
    """Why there is nothing to answer from, as the reader sees it; None where it finds the answer, or can't tell."""
    if tools.judge is None or not work.judged:
        return None
    try:
        async with asyncio.timeout(tools.judge.seconds):
            written = await _asked(work, tools.judge, tools)
        return None if reader.found(written, work.shown) else NOT_FOUND
    except (TimeoutError, Temporary, Permanent, NoVerdict) as error:
        log.warning("answering without the reader: %s", str(error) or "it took too long")
        return None


async def _asked(work: Work, judge: Judge, tools: Tools) -> str:
    model = await judge.models.model(judge.model)
    context = min(model.context, tools.limits.context)
    options = {"temperature": 0.0, "seed": 0, "num_predict": reader.MOST_TOKENS, "num_ctx": context}
    written = ""
    asking = judge.models.chat(model.name, reader.messages(work.messages), options, reader.SCHEMA)
    async with contextlib.aclosing(asking) as pieces:
        async for piece in pieces:
            written += piece if isinstance(piece, str) else ""
    return written


async def _model(judge: Judge) -> Model | None:
    try:
        return await judge.models.model(judge.model)
    except (Temporary, Permanent) as error:
        log.warning("answering without the reader: %s", error.detail)
        return None
