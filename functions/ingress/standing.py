"""Whether a stored answer may still be shown as it was written: what it quotes must stand, and its asker may read it.

Pure. A document that was removed, or that the asker may no longer read, takes the words written from it along.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from knts import answers, channel, errors
from knts.errors import Gone

REMOVED = "a document that this answer rests on was removed"
_KEPT = ("model", "usage", "first_token_at", "finished_at")

Quotes = Mapping[str, frozenset[int]]  # the versions that are quoted, by document id


class Readable(Protocol):
    """A document that may be read now: its current version, and the version of its last removal before that, or 0."""

    @property
    def version(self) -> int: ...
    @property
    def removed(self) -> int: ...


@dataclass(frozen=True)
class Standing:
    """What became of the documents of an answer since."""

    removed: bool = False
    changed: bool = False

    def shown(self, final: Mapping[str, Any]) -> dict[str, Any]:
        """The final object as it may be shown now: failed, without a word of it, or marked as stale."""
        if self.removed:
            problem = errors.problem(Gone(REMOVED))
            kept = {name: final[name] for name in _KEPT if name in final}
            return {**answers.failure(REMOVED, problem, 0), **kept}
        return {**final, "stale": True} if self.changed else dict(final)


def quotes(final: Mapping[str, Any], frames: Iterable[channel.Frame] = ()) -> Quotes:
    """What a final object cites and shows, what the answer to another wording was written from, and the frames."""
    quoted: dict[str, set[int]] = {}
    for document_id, version, _ in final.get("answered_from", {}).get("evidence", ()):
        quoted.setdefault(document_id, set()).add(version)
    for one in [*_of(final), *(each for frame in frames for each in _in_frame(frame))]:
        quoted.setdefault(one["document_id"], set()).add(one["version"])
    return {document_id: frozenset(versions) for document_id, versions in quoted.items()}


def _of(shown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*shown.get("citations", ()), *shown.get("passages", ())]


def _in_frame(frame: channel.Frame) -> list[Mapping[str, Any]]:
    return [frame.data] if frame.type == channel.CITATION else _of(frame.data)


def standing(quoted: Quotes, readable: Mapping[str, Readable]) -> Standing:
    """How the quoted versions stand, by the quoted documents that may be read now."""
    removed = any(
        document_id not in readable or min(versions) < readable[document_id].removed
        for document_id, versions in quoted.items()
    )
    changed = any(
        versions != {readable[document_id].version}
        for document_id, versions in quoted.items()
        if document_id in readable
    )
    return Standing(removed, changed)
