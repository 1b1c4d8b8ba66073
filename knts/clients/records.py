"""The record of each document in the durable Redis: which version is current, and the token of a tenant's index.

Highest version wins: `claim` before writing, `raise_to` after it. A current version is what search may show; anything
else in the index is on its way in or out. Keys: `knts:doc:{tenant}:{id}`, `knts:docs:{tenant}`, `knts:token:{tenant}`.
"""

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import orjson

from knts import telemetry
from knts.clients.redis import Redis, Script, failures, replicated
from knts.errors import Permanent
from knts.events import now

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_VERSION = 2**53 - 1
CONFLICT = "this version was taken before with another content"

Status = Literal["indexed", "removed", "rejected", "pending"]
Claim = Literal["claimed", "superseded", "conflict"]
Raised = Literal["first", "raised", "again", "superseded", "conflict", "lost"]
Refused = Literal["refused", "superseded"]

_assign, _claim, _raise, _refuse = (Script(f"doc_{name}") for name in ("assign", "claim", "raise", "refuse"))


@dataclass(frozen=True)
class Record:
    """What is known of a document.

    `status` speaks of `version`, the highest one heard of; `indexed` is the version that searches show, 0 for none.
    `chunks` to `acl` are the indexed version's; `acl` is known from the first event on. `updated` is RFC 3339.
    `reason` says why a version was refused. `assigned` is the highest version handed out or on its way.
    """

    document_id: str
    version: int
    status: Status
    indexed: int
    chunks: int
    content_hash: str
    title: str
    url: str
    acl: tuple[str, ...]
    updated: str
    reason: str
    assigned: int

    def readable_by(self, groups: Collection[str]) -> bool:
        """Whether a principal in `groups` may know of the document."""
        return _readable(self.acl, groups)


@dataclass(frozen=True)
class Since:
    """A document's current version, and since when it is: ms by Redis' clock, None where it was not noted."""

    version: int
    ms: int | None


@dataclass(frozen=True)
class Readable:
    """A document that may be read now: its current version, and the version of its last removal before that, or 0."""

    version: int
    removed: int


class Records:
    """Documents' records and tenants' tokens. Every call raises Temporary when Redis is not available.

    What is written is on so many `replicas` too when a call returns.
    """

    def __init__(self, redis: Redis, replicas: int = 0) -> None:
        self.redis = redis
        self.replicas = replicas

    async def assign(self, tenant: str, document_id: str, acl: Iterable[str] | None = None) -> int:
        """The version that follows the highest one known; it shows as pending. Two callers never get the same.

        `acl` is what the document is going to have, so that a new one is shown to nobody else meanwhile.
        Raises Permanent when the highest possible version is taken.
        """
        version = int(await self._on_its_way(tenant, document_id, "", acl))
        if version > MAX_VERSION:
            raise Permanent(f"version: the highest possible one, {MAX_VERSION}, is taken")
        return version

    async def note_pending(self, tenant: str, document_id: str, version: int, acl: Iterable[str] | None = None) -> None:
        """Note that an event with this version is on its way. Never lowers anything."""
        await self._on_its_way(tenant, document_id, str(int(version)), acl)

    async def _on_its_way(self, tenant: str, document_id: str, version: str, acl: Iterable[str] | None) -> bytes:
        readers = "" if acl is None else orjson.dumps(list(acl))
        args = [document_id, version, readers, now()]
        reply: bytes = await _assign(self.redis, _keys(tenant, document_id), args, replicas=self.replicas)
        return reply

    async def claim(
        self,
        tenant: str,
        document_id: str,
        version: int,
        content_hash: str,
        acl: Iterable[str] = (),
        *,
        removal: bool = False,
    ) -> Claim:
        """Before a version is written: 'claimed', 'superseded' by a higher one, or 'conflict' with another content.

        A `removal` that is superseded is noted all the same: what was quoted from before it stays withheld.
        """
        args = [document_id, version, content_hash, orjson.dumps(list(acl)), now(), CONFLICT, int(removal)]
        outcome: Claim = (await _claim(self.redis, _keys(tenant, document_id), args, replicas=self.replicas)).decode()
        return outcome

    async def raise_to(
        self,
        tenant: str,
        document_id: str,
        version: int,
        content_hash: str,
        *,
        status: Literal["indexed", "removed"],
        **fields: Any,
    ) -> Raised:
        """After its chunks are written: make the version current, and replace the tenant's token in the same step.

        'first' (raised, and no other version was ever begun), 'raised', 'again' (it was current), 'superseded',
        'conflict', or 'lost' when the claim is gone. `fields` are `chunks`, `title`, `url` and, as a list, `acl`.
        """
        stored = {"status": status, "updated": now(), "chunks": 0, "title": "", "url": "", **fields}
        if "acl" in stored:
            stored["acl"] = orjson.dumps(list(stored["acl"]))
        named = [part for item in stored.items() for part in item]
        args = [version, content_hash, secrets.token_hex(16), int(status == "removed"), *named]
        keys = [document_key(tenant, document_id), token_key(tenant)]
        outcome: Raised = (await _raise(self.redis, keys, args, replicas=self.replicas)).decode()
        return outcome

    async def refuse(
        self,
        tenant: str,
        document_id: str,
        version: int,
        reason: str,
        content_hash: str = "",
        *,
        given_up: bool = False,
    ) -> Refused:
        """Note why a version will not be indexed, and free its claim: 'refused', or 'superseded' by what stands.

        Who claims it with another content goes on; with `given_up` nobody does, until the claimed content comes again.
        """
        args = [document_id, version, content_hash, reason[:1000], now(), int(given_up)]
        outcome: Refused = (
            await _refuse(self.redis, _keys(tenant, document_id), args, replicas=self.replicas)
        ).decode()
        return outcome

    async def get(self, tenant: str, document_id: str) -> Record | None:
        """The document's record, or None for one never heard of."""
        with failures():
            found = await self.redis.hgetall(document_key(tenant, document_id))
        return parse(document_id, found) if found else None

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]:
        """The version that may be shown, by document id; removed and unknown ones are absent. One round trip.

        So is one whose record can't be read: a document less is better than no search at all. It is logged and counted.
        """
        return await self._read(tenant, ids, _fields("version", "status"), lambda _, found: _version(*found))

    async def since(self, tenant: str, ids: Iterable[str]) -> dict[str, Since]:
        """The same, and since when each may be shown. One round trip."""

        def read(_: str, found: Sequence[bytes]) -> Since | None:
            version, status, since = found
            return Since(int(version), int(since) if since else None) if status == b"indexed" else None

        return await self._read(tenant, ids, _fields("version", "status", "since"), read)

    async def readable(self, tenant: str, groups: Collection[str], ids: Iterable[str]) -> dict[str, Readable]:
        """What of these documents a principal in `groups` may read now, by id. One round trip.

        What can't be read may not be: see `current`.
        """

        def read(_: str, found: Sequence[bytes]) -> Readable | None:
            version, status, acl, removed = found
            may = status == b"indexed" and _readable(orjson.loads(acl or b"[]"), groups)
            return Readable(int(version), int(removed or 0)) if may else None

        return await self._read(tenant, ids, _fields("version", "status", "acl", "removed"), read)

    async def _read(
        self, tenant: str, ids: Iterable[str], ask: Callable[[Any, str], object], read: Callable[[str, Any], T | None]
    ) -> dict[str, T]:
        """What `read` makes of each record, as far as it makes something of it; `ask` asks a pipeline for one."""
        wanted = list(dict.fromkeys(ids))
        async with self.redis.pipeline(transaction=False) as pipeline:
            for document_id in wanted:
                ask(pipeline, document_key(tenant, document_id))
            with failures():
                found = await pipeline.execute(raise_on_error=False) if wanted else []
                if bad := next((each for each in found if isinstance(each, Exception) and not _is_no_hash(each)), None):
                    raise bad
        made: dict[str, T] = {}
        for document_id, one in zip(wanted, found, strict=True):
            try:
                if isinstance(one, Exception):
                    raise TypeError(str(one))
                if (known := read(document_id, one)) is not None:
                    made[document_id] = known
            except (ValueError, TypeError) as error:
                log.warning("the record of document %r can't be read, so it is not shown: %s", document_id, error)
                telemetry.count("knts.records.unreadable")
        return made

    async def indexed(self, tenant: str) -> bool:
        """Whether any document of a tenant is indexed."""
        after = ""
        while ids := await self._ids(tenant, after, 200):
            if await self.current(tenant, ids):
                return True
            after = ids[-1]
        return False

    async def listing(
        self, tenant: str, groups: Collection[str], after: str = "", limit: int = 100
    ) -> tuple[list[Record], str | None]:
        """Up to `limit` readable documents by id (in UTF-8 order) after the id `after`, removed ones left out.

        The second value is the `after` of the next page, or None at the end.
        """
        readable: list[Record] = []
        while True:
            ids = await self._ids(tenant, after, limit + 1)
            found = await self._read(tenant, ids, lambda pipeline, key: pipeline.hgetall(key), _parsed)
            for record in found.values():
                if record.status == "removed" or not record.readable_by(groups):
                    continue
                if len(readable) == limit:
                    return readable, readable[-1].document_id
                readable.append(record)
            if len(ids) <= limit:
                return readable, None
            after = ids[-1]

    async def _ids(self, tenant: str, after: str, count: int) -> list[str]:
        start = f"({after}".encode() if after else b"-"
        with failures():
            members = await self.redis.zrange(documents_key(tenant), start, "+", bylex=True, offset=0, num=count)
        return [member.decode() for member in members]

    async def token(self, tenant: str) -> str:
        """The tenant's token: the same as long as nothing in its index changed. Read it before retrieving."""
        fresh = secrets.token_hex(16)
        with failures():
            stored = await self.redis.set(token_key(tenant), fresh, nx=True, get=True)
        return stored.decode() if stored else fresh

    async def replace_token(self, tenant: str) -> None:
        """Make every answer stored under the old token unreachable."""
        with failures():
            await replicated(self.redis, self.replicas, "SET", token_key(tenant), secrets.token_hex(16))

    @contextlib.asynccontextmanager
    async def changing(self, tenant: str) -> AsyncIterator[None]:
        """Around a write to the tenant's index: the token is replaced before it and after it, even when it fails."""
        await self.replace_token(tenant)
        try:
            yield
        finally:
            await self.replace_token(tenant)


def _fields(*names: str) -> Callable[[Any, str], object]:
    return lambda pipeline, key: pipeline.hmget(key, *names)


def _parsed(document_id: str, fields: Mapping[bytes, bytes]) -> Record | None:
    return parse(document_id, fields) if fields else None


def _version(version: bytes, status: bytes) -> int | None:
    return int(version) if status == b"indexed" else None


def _is_no_hash(error: Exception) -> bool:
    return str(error).startswith("WRONGTYPE")


def _readable(acl: Collection[str], groups: Collection[str]) -> bool:
    return not acl or not set(acl).isdisjoint(groups)


def parse(document_id: str, fields: Mapping[bytes, bytes]) -> Record:
    """A record from its hash."""
    text = {name.decode(): value.decode() for name, value in fields.items()}
    stored, assigned = int(text.get("version", 0)), int(text.get("assigned", 0))
    version = max(stored, assigned)
    return Record(
        document_id=document_id,
        version=version,
        status=_status(text, stored, version),
        indexed=stored if text.get("status") == "indexed" else 0,
        chunks=int(text.get("chunks", 0)),
        content_hash=text.get("hash", ""),
        title=text.get("title", ""),
        url=text.get("url", ""),
        acl=tuple(orjson.loads(text.get("acl", "[]"))),
        updated=text.get("updated", ""),
        reason=text.get("reason", ""),
        assigned=assigned,
    )


def _status(text: Mapping[str, str], stored: int, version: int) -> Any:
    if version == stored:
        return text.get("status", "pending")
    going_on = f"claim:{version}" in text and int(text.get("given_up", 0)) != version
    return "rejected" if int(text.get("refused", 0)) == version and not going_on else "pending"


def document_key(tenant: str, document_id: str) -> str:
    """The record's hash."""
    return f"knts:doc:{_part(tenant)}:{document_id}"


def documents_key(tenant: str) -> str:
    """The ids of a tenant: a zset of equal scores, ordered by member."""
    return f"knts:docs:{_part(tenant)}"


def token_key(tenant: str) -> str:
    """The tenant's token."""
    return f"knts:token:{_part(tenant)}"


def _part(tenant: str) -> str:
    return quote(tenant, safe="")


def _keys(tenant: str, document_id: str) -> list[str]:
    return [document_key(tenant, document_id), documents_key(tenant)]
