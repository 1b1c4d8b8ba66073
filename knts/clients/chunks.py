"""Writing chunks to Typesense and reading a document's chunks back. What a chunk holds: `knts.index`."""

from collections.abc import Iterator, Sequence

import orjson

from knts.clients.typesense import Missing, Typesense, takes_no_writes
from knts.clients.typesense_collection import Collection
from knts.errors import IndexUnavailable
from knts.index import document_digest, whole_text

IMPORT_LINES = 2000  # chunks of one request: some seconds of Typesense's time at most
IMPORT_BYTES = 4 * 1024 * 1024
LONG = 30.0  # seconds that an import or a deletion may take, where TYPESENSE_TIMEOUT allows no more


class Chunks:
    """The chunks behind the alias. Calls raise IndexUnavailable when Typesense is away or takes no writes."""

    def __init__(self, typesense: Typesense) -> None:
        self.typesense = typesense
        self.collection = Collection(typesense)
        self._patience = max(LONG, typesense.server.timeout)
        self._path = f"/collections/{typesense.server.collection}/documents"

    async def add(self, lines: Sequence[bytes]) -> list[str | None]:
        """Import chunks, one JSON object a line, replacing those of the same id; per line None or why it was refused.

        Creates the collection at first use. When it raises, any number of them may have been written.
        """
        collection = await self.collection.ensure()
        refusals: list[str | None] = []
        for part in parted(lines):
            refusals += await self._import(collection, part)
        return refusals

    async def _import(self, collection: str, lines: Sequence[bytes]) -> list[str | None]:
        try:
            reply = await self.typesense.call(
                "POST",
                f"/collections/{collection}/documents/import",
                params={"action": "upsert", "batch_size": 200},
                body=b"\n".join(lines),
                timeout=self._patience,
            )
        except Missing:
            self.collection.forget()
            raise
        try:
            results = [orjson.loads(line) for line in reply.splitlines()]
        except orjson.JSONDecodeError as error:
            raise IndexUnavailable("Typesense answered an import with something else than JSON lines") from error
        if len(results) != len(lines) or not all(isinstance(result, dict) for result in results):
            raise IndexUnavailable(f"Typesense answered {len(results)} of {len(lines)} imported lines")
        return [refusal(result) for result in results]

    async def drop_older(self, document: str, version: int, content: str, chunks: int) -> None:
        """Delete what a document's current version has replaced: lower versions, and leftovers beside its chunks."""
        await self._drop(older(document, version, content, chunks))

    async def drop_up_to(self, document: str, version: int) -> None:
        """Delete every chunk of a document up to a version, that version's too."""
        await self._drop(up_to(document, version))

    async def drop_own(self, document: str, version: int, content: str) -> None:
        """Delete what a writer that lost has written."""
        await self._drop(own(document, version, content))

    async def _drop(self, filter_by: str) -> None:
        try:
            path = f"/collections/{await self.collection.name()}/documents"
            await self.typesense.call("DELETE", path, params={"filter_by": filter_by}, timeout=self._patience)
        except Missing:  # no collection, so nothing to delete; the next import creates it
            self.collection.forget()

    async def text(self, tenant: str, document_id: str, version: int, chunks: int) -> str:
        """The unchanged text of an indexed version with that many chunks.

        Raises IndexUnavailable where not all of them are there, as while a newer version takes its place.
        """
        wanted = f"document:={document_digest(tenant, document_id)} && version:={version}"
        fields = "chunk,lead,text,tail"
        reply = await self.typesense.call(
            "GET", f"{self._path}/export", params={"filter_by": wanted, "include_fields": fields}
        )
        try:
            found = [orjson.loads(line) for line in reply.splitlines()]
        except orjson.JSONDecodeError as error:
            raise IndexUnavailable("Typesense answered an export with something else than JSON lines") from error
        if len(found) != chunks:
            raise IndexUnavailable(f"the index holds {len(found)} of {chunks} chunks of this version", retry_after=1)
        return whole_text(found)


def older(document: str, version: int, content: str, chunks: int) -> str:
    """The filter for what a current version of so many chunks has replaced."""
    leftover = f"version:={version} && (content:!={content} || chunk:>={chunks})"
    return f"document:={document} && (version:<{version} || ({leftover}))"


def up_to(document: str, version: int) -> str:
    """The filter for all chunks of a document up to a version."""
    return f"document:={document} && version:<={version}"


def own(document: str, version: int, content: str) -> str:
    """The filter for the chunks of one content of a version."""
    return f"document:={document} && version:={version} && content:={content}"


def refusal(result: dict[str, object]) -> str | None:
    """Why one line of an import was refused, or None. Raises IndexUnavailable where the server took no writes."""
    if result.get("success") is True:
        return None
    reason = str(result.get("error", "no reason given"))[:300]
    code = result.get("code", 400)
    if takes_no_writes(reason) or (isinstance(code, int) and code >= 500):
        raise IndexUnavailable(f"Typesense takes no writes now: {reason}", retry_after=5)
    return reason


def parted(
    lines: Sequence[bytes], most_lines: int = IMPORT_LINES, most_bytes: int = IMPORT_BYTES
) -> Iterator[Sequence[bytes]]:
    """The lines in order, in parts within both bounds; a line above the bound is a part of its own."""
    start, size = 0, 0
    for at, line in enumerate(lines):
        if at > start and (at - start == most_lines or size + len(line) > most_bytes):
            yield lines[start:at]
            start, size = at, 0
        size += len(line)
    if start < len(lines):
        yield lines[start:]
