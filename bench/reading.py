"""What a reader (`KNTS_READER`) says of questions that search has found passages for; `bench.abstention --reader` asks.

It is asked by llm-answer's own prompt, schema and check. Without `OLLAMA_URL` the packaged model's server is started,
and shown as little as the local run shows it.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from functions.llm_answer import prompt, reader
from functions.llm_answer.ports import AnswerLimits
from knts.clients.ollama import Ollama
from knts.local.plan import SMALL_MODEL
from knts.local.servers import PackagedModel, started
from knts.settings import OllamaServer, read

FOUND, NOT_FOUND, MADE_UP, NO_VERDICT = "found", "not found", "quoted what no passage says", "no verdict"


@dataclass(frozen=True)
class Verdict:
    """What came of asking once, and how long it took."""

    outcome: str
    seconds: float


async def verdicts(
    asked: Mapping[str, Sequence[tuple[str, list[dict[str, Any]]]]], model: str
) -> dict[str, list[Verdict]]:
    """The verdicts on the questions of each kind, asked one after the other."""
    if url := os.environ.get("OLLAMA_URL"):
        return await _from(OllamaServer(url=url, model=model), read(AnswerLimits, os.environ), asked)
    with tempfile.TemporaryDirectory() as home:
        server = PackagedModel(Path(home, "lib"), Path(home, "log"))
        process = started(server)
        try:
            limits = read(AnswerLimits, {**SMALL_MODEL, **os.environ})
            return await _from(OllamaServer(url=server.url, model=model), limits, asked)
        finally:
            process.stop()


async def _from(
    server: OllamaServer, limits: AnswerLimits, asked: Mapping[str, Sequence[tuple[str, list[dict[str, Any]]]]]
) -> dict[str, list[Verdict]]:
    async with Ollama(server) as ollama:
        return {
            kind: [await _verdict(ollama, limits, text, passages) for text, passages in every]
            for kind, every in asked.items()
        }


async def _verdict(ollama: Ollama, limits: AnswerLimits, question: str, passages: list[dict[str, Any]]) -> Verdict:
    model = await ollama.model()
    made = prompt.compose(question, passages, {}, model.context, limits.budget)
    options = {"temperature": 0.0, "seed": 0, "num_predict": reader.MOST_TOKENS, "num_ctx": made.options["num_ctx"]}
    began, written = time.perf_counter(), ""
    async for piece in ollama.chat(model.name, reader.messages(made.messages), options, reader.SCHEMA):
        written += piece if isinstance(piece, str) else ""
    took = time.perf_counter() - began
    try:
        if reader.found(written, made.shown):
            return Verdict(FOUND, took)
    except reader.NoVerdict:
        return Verdict(NO_VERDICT, took)
    return Verdict(MADE_UP if orjson.loads(written)["answerable"] else NOT_FOUND, took)
