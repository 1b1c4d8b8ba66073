"""Embeds everything anew by another model while searches go on by the old one, then lets them use the new one.

The work is done by the workers of index-document, which embed by the model in their settings whatever is on the list,
and what is written meanwhile by both models. So nothing is missing when searches change over, and nothing was before.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import orjson

from knts.clients.typesense import Missing, Typesense
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.embeddings import Model

LOOK = 0.5  # seconds between two looks at how many are left
SETTLED = 2.0  # seconds, longer than a search believes the alias


async def note_all(typesense: Typesense, waiting: Unembedded) -> int:
    """Put every document of the index on the list; how many there are."""
    path = f"/collections/{typesense.server.collection}/documents/export"
    params = {"filter_by": "chunk:=0", "include_fields": "tenant_name,document_id"}
    try:
        reply = await typesense.call("GET", path, params=params, timeout=600)
    except Missing:
        return 0
    by_tenant: defaultdict[str, set[str]] = defaultdict(set)
    for line in reply.splitlines():
        first = orjson.loads(line)
        by_tenant[first["tenant_name"]].add(first["document_id"])
    for tenant, ids in by_tenant.items():
        await waiting.add(tenant, sorted(ids))
    return sum(map(len, by_tenant.values()))


async def reindex(vectors: Vectors, waiting: Unembedded, model: str, say: Callable[[str], None]) -> Model | None:
    """The model that searches use when every document has its embeddings by `model`; None where nothing is indexed.

    The collections of other models are dropped then. May be stopped and begun again at any time.
    """
    total = await note_all(vectors.typesense, waiting)
    say(f"{total} documents")
    left = -1
    while now := await waiting.count():
        if now != left:
            say(f"{now} are left")
        left = now
        await asyncio.sleep(LOOK)  # other processes do it
    made = next((each for each in await vectors.collections() if each.name == model), None)
    if made is None:
        return None
    if made != await vectors.serving():
        await vectors.switch(made)
        await asyncio.sleep(SETTLED)
    for other, name in (await vectors.collections()).items():
        if other != made:
            await vectors.drop_collection(name)
    return made
