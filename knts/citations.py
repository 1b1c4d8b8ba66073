"""Whether an answer is what it was, and whether what it cites stands in the documents. Pure; needs no server.

Anybody who has the documents can check an answer with this: `knts verify` does.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

SEALED = ("question", "status", "answer", "model", "citations", "sentences")


@dataclass(frozen=True)
class Text:
    """A document's text; `version` is 0 where it is not known, as of a file."""

    text: str
    version: int = 0


def digest(quote: str) -> str:
    """The hex SHA-256 of a text's UTF-8."""
    return hashlib.sha256(quote.encode("utf-8", "surrogatepass")).hexdigest()


def seal(answer: Mapping[str, Any]) -> str:
    """The hex SHA-256 of what an answer says and cites: a JSON list of `SEALED`, and of the question that it was
    written for where that is another one; keys sorted, without white space.

    It shows damage, not forgery: who changes an answer can seal it anew. What he can't change is the documents.
    """
    parts = [answer.get(name) for name in SEALED]
    parts += [answer["answered_question"]] if "answered_question" in answer else []
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def holds(citation: Mapping[str, Any], document_text: str) -> bool:
    """Whether a citation is true of a document's text: the quote stands there, and its digest is right."""
    start, end, quote = citation["start"], citation["end"], citation["quote"]
    there = 0 <= start < end <= len(document_text) and document_text[start:end] == quote
    return there and bool(citation["sha256"] == digest(quote))


def faults(answer: Mapping[str, Any], documents: Mapping[str, Text]) -> list[str]:
    """What is wrong with a finished answer, in words; empty when every byte of what it says and cites is right.

    `documents` are those that it cites, by id. Raises KeyError or TypeError for what is no answer of the HTTP API.
    """
    broken = [] if answer["digest"] == seal(answer) else ["the answer is not as it was written: its digest differs"]
    for number, citation in enumerate(answer["citations"], 1):
        broken += [f"citation {number}: {why}" for why in _of_citation(citation, answer["answer"], documents)]
    broken += _of_sentences(answer)
    for passage in answer["passages"]:
        document = documents.get(passage["document_id"])
        same = document is None or document.version in (0, passage["version"])
        if document and same and not _stands(passage, document.text):
            broken.append(f"a passage of {passage['document_id']!r} differs from the document")
    return broken


def _stands(passage: Mapping[str, Any], document_text: str) -> bool:
    start, end = passage["start"], passage["end"]
    return 0 <= start < end <= len(document_text) and document_text[start:end] == str(passage["text"])


def _of_citation(citation: Mapping[str, Any], answer: str, documents: Mapping[str, Text]) -> Iterator[str]:
    document = documents.get(citation["document_id"])
    if not 0 <= citation["answer_start"] < citation["answer_end"] <= len(answer):
        yield "stands outside of the answer"
    if document is None:
        yield f"there is no document {citation['document_id']!r}"
    elif document.version not in (0, citation["version"]):
        yield f"{citation['document_id']!r} has version {document.version} now; {citation['version']} is cited"
    elif not holds(citation, document.text):
        yield f"{citation['document_id']!r} does not say so from {citation['start']} to {citation['end']}"


def _of_sentences(answer: Mapping[str, Any]) -> Iterator[str]:
    last, cited = 0, []
    for number, sentence in enumerate(answer["sentences"], 1):
        if not last <= sentence["start"] < sentence["end"] <= len(answer["answer"]):
            yield f"sentence {number} stands outside of the answer or in another one"
        last = sentence["end"]
        cited += sentence["citations"]
        inside = [each for each in sentence["citations"] if 0 <= each < len(answer["citations"])]
        places = [answer["citations"][each] for each in inside]
        if len(inside) < len(sentence["citations"]) or any(
            not sentence["start"] <= place["answer_start"] < place["answer_end"] <= sentence["end"] for place in places
        ):
            yield f"sentence {number} names a citation that does not stand in it"
        if sentence["supported"] and not sentence["citations"]:
            yield f"sentence {number} is called supported and cites nothing"
    if sorted(cited) != list(range(len(answer["citations"]))):
        yield "a citation belongs to no sentence, or to more than one"
