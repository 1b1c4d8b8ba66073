"""The semantic tier: an answer that was written for another wording of a question, for who would be told the same.

It is his where all that it cites stands in what was found for him, where nothing of that has changed and nothing of
what it was written from, where nothing was found for him that came after it was asked for, and where the judge of
wordings agrees. Whatever is missing or away makes it a miss.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from functions.llm_answer import outcome, wording
from functions.llm_answer.currency import Currency
from functions.llm_answer.outcome import Work
from functions.llm_answer.ports import Since, Tools, Versions
from knts import telemetry
from knts.embeddings import Meaning, Model, likeness
from knts.errors import Temporary

log = logging.getLogger(__name__)

LONGEST = 2000  # characters of a question that are embedded
FAR = 0.5  # likeness below which no wording is worth reading the answer of
MOST = 8  # answers that are read and judged, the likest first
MARGIN_MS = 1000  # that a document must have been there before a question, since ingress' clock follows Redis' roughly

Place = tuple[str, int]  # document and version
Why = tuple[str, str]  # what came of a question, one of those below, and the guard that spoke, if one did
SERVED, FOREIGN, GUARD, CHANGED, NEWER = "served", "foreign", "guard", "changed", "newer"
NONE, AWAY = "none", "away"


async def with_meaning(work: Work, tools: Tools) -> Work:
    """The work with its question's embedding, where the tier is on and the question has to do with the cache at all."""
    if tools.semantic is None or work.asked.mode == "off":
        return work
    model, text = tools.semantic.model, work.asked.question[:LONGEST]
    try:
        [vector] = await tools.semantic.embedder.embed(model, [text], tools.semantic.seconds)
    except Temporary as error:
        log.warning("no other wording is looked for: %s", error.detail)
        telemetry.count("knts.cache.rewordings", outcome=AWAY, guard="")
        return work
    return replace(work, meaning=Meaning(Model(model, len(vector)), vector))


async def reworded(work: Work, evidence: Currency, tools: Tools) -> dict[str, Any] | None:
    """The final object of an answer to another wording that may be served, or None."""
    if work.meaning is None or work.asked.mode != "use" or not evidence.current:
        return None
    try:
        (came_of_it, guard), known = await _judged(work, work.meaning, tools)
    except Temporary as error:
        log.warning("no other wording is looked for: %s", error.detail)
        (came_of_it, guard), known = (AWAY, ""), None
    telemetry.count("knts.cache.rewordings", outcome=came_of_it, guard=guard)
    return None if known is None else outcome.reworded(work, known, tools.asks.now_ms())


async def _judged(work: Work, meaning: Meaning, tools: Tools) -> tuple[Why, dict[str, Any] | None]:
    """The first answer that may be served, the likest question first; or why that of the likest may not."""
    near = await tools.cache.near(work.family, work.asked.passages)
    like = {key: likeness(meaning.vector, packed) for key, packed in near.items()}
    likest = sorted((key for key in like if like[key] >= FAR and key != work.key), key=lambda key: -like[key])[:MOST]
    reasons: list[Why] = []
    for known in await tools.cache.answers(likest):
        why = refused(work, known, like[known["key"]], meaning.model) or await _against(work, known, tools.records)
        if why is None:
            return (SERVED, ""), known
        reasons.append(why)
    return next(iter(reasons), (NONE, "")), None


def refused(work: Work, known: Mapping[str, Any], like: float, model: Model) -> Why | None:
    """Why the answer to a question that is so like, by that model, may not be served, as far as both tell."""
    if "wording" not in known or not cites_what_is_found(known["citations"], work.asked.passages):
        return FOREIGN, ""
    verdict = wording.same(work.asked.question, known["question"], like, model.name)
    return None if verdict else (GUARD, verdict.reason)


def cites_what_is_found(citations: Sequence[Mapping[str, Any]], passages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are citations, and each stands in a passage of the same version of its document."""
    return bool(citations) and all(any(_stands_in(each, passage) for passage in passages) for each in citations)


def _stands_in(citation: Mapping[str, Any], passage: Mapping[str, Any]) -> bool:
    same = all(citation[name] == passage[name] for name in ("document_id", "version"))
    return same and passage["start"] <= citation["start"] and citation["end"] <= passage["end"]


async def _against(work: Work, known: Mapping[str, Any], records: Versions) -> Why | None:
    """Why it may not be served as the documents stand; the last that is looked at before it is."""
    ours = {(each["document_id"], each["version"]) for each in work.asked.passages}
    theirs = {(document_id, version) for document_id, version, _ in known["evidence"]}
    found = await records.since(work.asked.event.tenant, {document_id for document_id, _ in ours | theirs})
    why = unfit(ours, theirs, known["wording"]["asked_at"], found)
    return (why, "") if why else None


def unfit(ours: Iterable[Place], theirs: Iterable[Place], asked_at: int, found: Mapping[str, Since]) -> str:
    """Why an answer that was asked for at that time, and written from `theirs`, may not be given for `ours`: one of
    these has changed or gone, or one that is only among ours may not have been there yet.
    """
    ours, theirs = frozenset(ours), frozenset(theirs)
    if any(name not in found or found[name].version != version for name, version in ours | theirs):
        return CHANGED
    since = [found[name].ms for name, _ in ours - theirs]
    return NEWER if any(ms is None or ms + MARGIN_MS >= asked_at for ms in since) else ""
