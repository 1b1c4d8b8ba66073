"""The story of ingress: somebody asks, searches or changes documents, and is the only one who waits.

`Ingress` is what the HTTP API and the page call. Each call is given the `Principal` that asks; nothing in a request
can widen what that principal may see.
"""

from collections.abc import AsyncIterator
from typing import Any

from functions.ingress.access import Principal
from knts.channel import Position

__all__ = ["HEARTBEAT", "Ingress", "Position", "Principal"]

HEARTBEAT = ""  # the event type that `follow` yields when nothing happened for `heartbeat` seconds


class Ingress:
    """Search, ask, follow, answer, cancel; put, delete, show and list documents.

    Every call raises `knts.errors` only: BadRequest (its `errors` name field and rule), NotFound (unknown, or
    somebody else's), Gone, TooLarge, UpstreamFailed, DeadlineExceeded, Temporary.
    """

    async def search(self, who: Principal, query: dict[str, Any]) -> dict[str, Any]:
        """The search result of `{"query", "limit"?, "offset"?, "filters"?, "facets"?}`, as GET /v1/search gives it."""
        raise NotImplementedError

    async def ask(self, who: Principal, request: dict[str, Any], *, listening: bool) -> str:
        """Start to answer `{"question", "filters"?, "model"?, "max_passages"?, "cache"?, "conversation_id"?}`.

        The new answer's id; it may have ended already, from the cache. `listening`: somebody follows it from now on,
        and when nobody does any more for 30 s its generation may stop.
        """
        raise NotImplementedError

    def follow(
        self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None
    ) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
        """`(opaque id, event type, data)` after a position, until the last event of the answer.

        The types are queued, passages, joined, delta, reset, citation, completed, abstained, failed and cancelled;
        the last one's data is the answer as `answer` gives it. With `heartbeat` in seconds, `("", HEARTBEAT, {})`
        comes whenever that long nothing did, and at once when nothing waits to be read. Nothing at all comes after
        the end's position. At the deadline the answer is ended as failed. Raises NotFound, Gone.
        """
        raise NotImplementedError

    async def answer(self, who: Principal, ask_id: str) -> dict[str, Any] | None:
        """The finished answer, or None while it is being made. Raises NotFound, Gone."""
        raise NotImplementedError

    async def cancel(self, who: Principal, ask_id: str) -> None:
        """End the asker's part in an answer; nothing happens to one that is finished. Raises NotFound."""
        raise NotImplementedError

    async def put_document(self, who: Principal, document_id: str, document: dict[str, Any]) -> dict[str, Any]:
        """Publish a new or changed document: `{"id", "version", "event_id"}`.

        `document` is `{"title", "text", "version"?, "url"?, "lang"?, "tags"?, "acl"?, "metadata"?, "sections"?}`.
        """
        raise NotImplementedError

    async def delete_document(self, who: Principal, document_id: str, version: int | None = None) -> dict[str, Any]:
        """Publish a deletion, which is a version too: `{"id", "version", "event_id"}`."""
        raise NotImplementedError

    async def document(self, who: Principal, document_id: str, *, text: bool = False) -> dict[str, Any]:
        """`{"id", "version", "status", "chunks", "title", "url", "updated", …}`, with its text where asked for.

        Raises NotFound for unknown and unreadable ones alike.
        """
        raise NotImplementedError

    async def documents(self, who: Principal, *, after: str = "", limit: int = 100) -> dict[str, Any]:
        """The readable documents by id: `{"documents": [as `document`], "next": the next page's `after` or None}`."""
        raise NotImplementedError
