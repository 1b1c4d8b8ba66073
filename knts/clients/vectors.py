"""The embeddings of passages in Typesense: a collection for each model, beside the collection of the passages.

Apart, since they come later, may be made anew by another model, and would make each passage that is listed by its words
slower to load. The alias `<KNTS_COLLECTION>_vectors` names the collection that searches use, and so the model that
their questions are embedded by. Fields: schemas/typesense-vectors.json; `id` is the passage's.

Nearest neighbours are found by comparing with every passage that the asker may read, up to `EXACT` of them: then what
others have indexed changes nothing. Beyond that the engine walks a graph that all documents share.
"""

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from knts.clients.chunks import parted, refusal
from knts.clients.typesense import Missing, Typesense
from knts.embeddings import Model, Near, Nearest, collection_name, embedded_text, model_of, packed, rounded
from knts.errors import IndexUnavailable, Permanent
from knts.index import document_digest, filter_by, scope_filter
from knts.lookup import MOST_PER_PAGE, Scope
from knts.schemas import SCHEMAS

EXACT = 100_000  # passages within the scope up to which every one is compared
KNOWN_SECONDS = 1.0  # that the collection behind the alias is believed
LONG = 30.0
_COPIED = ("id", "tenant", "readers", "filters", "document", "content", "version", "chunk")
_READ = ",".join((*_COPIED, "title", "section", "text"))


@dataclass(frozen=True)
class Passage:
    """A passage as the index holds it, and what its embedding is made of."""

    fields: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def text(self) -> str:
        return embedded_text(self.fields)


class Vectors:
    """Embeddings behind the alias. Calls raise IndexUnavailable when Typesense is away."""

    def __init__(self, typesense: Typesense) -> None:
        self.typesense = typesense
        self.alias = f"{typesense.server.collection}_vectors"
        self._serving: Model | None = None
        self._looked_at = float("-inf")

    async def serving(self) -> Model | None:
        """The model whose embeddings searches use, as of `KNOWN_SECONDS` ago at most; None where there are none yet."""
        if time.monotonic() - self._looked_at > KNOWN_SECONDS:
            self._serving = model_of(await self._behind_alias())
            self._looked_at = time.monotonic()
        return self._serving

    async def _behind_alias(self) -> str:
        try:
            found = await self.typesense.request("GET", f"/aliases/{self.alias}")
        except Missing:
            return ""
        return str(found["collection_name"])

    async def collections(self) -> dict[Model, str]:
        """The names of all collections of embeddings beside this collection of passages, by model."""
        found = await self.typesense.request("GET", "/collections")
        names = [str(each["name"]) for each in found if str(each["name"]).startswith(f"{self.alias}_")]
        return {model: name for name in names if (model := model_of(name))}

    async def nearest(self, scope: Scope, model: Model, vector: Sequence[float], most: int) -> Nearest:
        """The passages within the scope whose embeddings are nearest, and how many there have one."""
        numbers = ",".join(map(str, rounded(vector)))
        by = f"vector:([{numbers}], k:{most}, flat_search_cutoff:{EXACT})"
        passages, among, whole = await self._search(scope, model, vector_query=by, per_page=most)
        if among <= most and whole > EXACT:  # it may have walked the graph: then it counts what that brought
            _, among, _ = await self._search(scope, model, per_page=0)
        return Nearest(passages, among)

    async def embedded(self, scope: Scope, model: Model, ids: Sequence[str]) -> set[str]:
        """Those of these passages, at most `MOST_PER_PAGE`, that lie within the scope and have an embedding."""
        if not ids:
            return set()
        found, _, _ = await self._search(scope, model, f" && id:[{','.join(ids)}]", per_page=MOST_PER_PAGE)
        return {each.chunk_id for each in found}

    async def _search(
        self, scope: Scope, model: Model, only: str = "", **more: str | int
    ) -> tuple[list[Near], int, int]:
        filters = filter_by(scope.filters)
        within = scope_filter(scope.tenant, scope.groups) + (f" && {filters}" if filters else "")
        search = {
            "collection": self._name(model),
            "q": "*",
            "filter_by": within + only,
            "include_fields": "id,packed",
            **more,
        }
        return read_nearest(await self.typesense.request("POST", "/multi_search", json={"searches": [search]}))

    async def missing(self, model: Model | None, tenant: str, document_id: str, version: int) -> list[Passage]:
        """The passages of an indexed version that have no embedding by this model; all of them for no model."""
        wanted = f"document:={document_digest(tenant, document_id)} && version:={version}"
        passages = await self._export(self.typesense.server.collection, wanted, _READ)
        known = await self._export(self._name(model), wanted, "id") if model else []
        there = {each["id"] for each in known}
        return [Passage(each) for each in passages if each["id"] not in there]

    async def _export(self, collection: str, wanted: str, fields: str) -> list[dict[str, Any]]:
        path = f"/collections/{collection}/documents/export"
        try:
            reply = await self.typesense.call(
                "GET", path, params={"filter_by": wanted, "include_fields": fields}, timeout=LONG
            )
            return [orjson.loads(line) for line in reply.splitlines()]
        except Missing:
            return []
        except orjson.JSONDecodeError as error:
            raise IndexUnavailable("Typesense answered an export with something else than JSON lines") from error

    async def add(self, model: Model, embedded: Iterable[tuple[Passage, Sequence[float]]]) -> None:
        """Write embeddings; the model's collection is created at first use, and searched if no other is."""
        lines = [orjson.dumps(_line(passage, vector)) for passage, vector in embedded]
        for part in parted(lines):
            try:
                results = await self._import(model, part)
            except Missing:
                await self._create(model)
                results = await self._import(model, part)
            if reasons := [reason for result in results if (reason := refusal(result))]:
                raise Permanent(f"Typesense refuses an embedding: {reasons[0]}")

    async def _import(self, model: Model, lines: Sequence[bytes]) -> list[dict[str, object]]:
        path = f"/collections/{self._name(model)}/documents/import"
        body = b"\n".join(lines)
        reply = await self.typesense.call("POST", path, params={"action": "upsert"}, body=body, timeout=LONG)
        try:
            results = [orjson.loads(line) for line in reply.splitlines()]
        except orjson.JSONDecodeError as error:
            raise IndexUnavailable("Typesense answered an import with something else than JSON lines") from error
        if len(results) != len(lines):
            raise IndexUnavailable(f"Typesense answered {len(results)} of {len(lines)} imported lines")
        return results

    async def _create(self, model: Model) -> None:
        schema = orjson.loads((SCHEMAS / "typesense-vectors.json").read_bytes())
        for field in schema["fields"]:
            if field["name"] == "vector":
                field["num_dim"] = model.dimension
        try:
            await self.typesense.request("POST", "/collections", json={"name": self._name(model), **schema})
        except Permanent:  # another replica was faster, or else the next look says what is wrong
            await self.typesense.request("GET", f"/collections/{self._name(model)}")
        if not await self._behind_alias():
            await self.switch(model)

    async def switch(self, model: Model) -> None:
        """Let searches use this model's embeddings."""
        await self.typesense.request("PUT", f"/aliases/{self.alias}", json={"collection_name": self._name(model)})
        self._looked_at = float("-inf")

    async def drop_collection(self, name: str) -> None:
        """Delete a collection of embeddings that nobody searches any more."""
        await self.typesense.call("DELETE", f"/collections/{name}", timeout=LONG)

    async def drop(self, wanted: str, models: Iterable[Model]) -> None:
        """Delete the embeddings that a filter finds, of each of these models."""
        for model in models:
            try:
                path = f"/collections/{self._name(model)}/documents"
                await self.typesense.call("DELETE", path, params={"filter_by": wanted}, timeout=LONG)
            except Missing:  # nothing was embedded yet
                continue

    def _name(self, model: Model) -> str:
        return collection_name(self.typesense.server.collection, model)


def read_nearest(reply: Any) -> tuple[list[Near], int, int]:
    """The passages in a reply, how many there are within the filter, and how many in all.

    None from a collection that is not there. Where nothing was asked to be near, nothing is.
    """
    try:
        result = reply["results"][0]
        if result.get("code") == 404:
            return [], 0, 0
        passages = [
            Near(hit["document"]["id"], 1 - hit.get("vector_distance", 1), base64.b64decode(hit["document"]["packed"]))
            for hit in result["hits"]
        ]
        return passages, int(result["found"]), int(result["out_of"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        said = str(reply)[:200]
        raise IndexUnavailable(f"Typesense answered a search for neighbours with something else: {said}") from error


def _line(passage: Passage, vector: Sequence[float]) -> dict[str, Any]:
    copied = {name: passage.fields[name] for name in _COPIED}
    return {**copied, "vector": rounded(vector), "packed": packed(vector)}
