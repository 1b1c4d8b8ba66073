"""Documents' records on a real Valkey: the highest version wins, whatever races."""

import asyncio

import pytest

from knts.clients.records import CONFLICT, MAX_VERSION, Readable, Records, document_key
from knts.clients.redis import Redis, connected
from knts.errors import Permanent, Temporary


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis)


async def index(records: Records, document_id: str, version: int, content: str = "a", acl: tuple[str, ...] = ()) -> str:
    claim = await records.claim("t", document_id, version, content, acl)
    if claim != "claimed":
        return claim
    return await records.raise_to("t", document_id, version, content, status="indexed", chunks=1, title="T", acl=acl)


async def test_assigned_versions_are_never_given_twice(records: Records) -> None:
    assert sorted(await asyncio.gather(*(records.assign("t", "d") for _ in range(50)))) == list(range(1, 51))


async def test_assign_follows_the_highest_version_heard_of(records: Records) -> None:
    await index(records, "d", 7)
    await records.note_pending("t", "d", 9)
    await records.note_pending("t", "d", 8)
    assert await records.assign("t", "d") == 10


async def test_assign_ends_at_the_highest_version(records: Records) -> None:
    await records.note_pending("t", "d", MAX_VERSION)
    with pytest.raises(Permanent, match="version"):
        await records.assign("t", "d")
    assert await index(records, "d", MAX_VERSION) == "first"
    assert await records.current("t", ["d"]) == {"d": MAX_VERSION}


async def test_a_document_is_pending_until_its_version_is_indexed(records: Records) -> None:
    assert await records.get("t", "d") is None
    await records.assign("t", "d", acl=["staff"])
    pending = await records.get("t", "d")
    assert pending is not None
    assert (pending.status, pending.version, pending.indexed, pending.acl) == ("pending", 1, 0, ("staff",))
    await index(records, "d", 1)
    indexed = await records.get("t", "d")
    assert indexed is not None
    assert (indexed.status, indexed.version, indexed.indexed, indexed.title) == ("indexed", 1, 1, "T")
    await records.assign("t", "d")
    again = await records.get("t", "d")
    assert again is not None
    assert (again.status, again.version, again.indexed) == ("pending", 2, 1)


async def test_the_highest_version_wins(records: Records) -> None:
    assert await index(records, "d", 2) == "first"
    assert await index(records, "d", 1) == "superseded"
    assert await index(records, "d", 2) == "again"
    assert await index(records, "d", 10) == "raised"
    assert await records.current("t", ["d"]) == {"d": 10}


async def test_a_paused_writer_finds_itself_superseded(records: Records) -> None:
    assert await records.claim("t", "d", 1, "a") == "claimed"
    assert await index(records, "d", 2) == "raised", "not the first: version 1 had begun"
    assert await records.raise_to("t", "d", 1, "a", status="indexed") == "superseded"


async def test_of_one_version_one_content_is_written(records: Records) -> None:
    assert await records.claim("t", "d", 1, "a") == "claimed"
    assert await records.claim("t", "d", 1, "b") == "conflict"
    assert await records.claim("t", "d", 1, "a") == "claimed"
    pending = await records.get("t", "d")
    assert pending is not None
    assert pending.status == "pending", "the first content is still on its way"
    assert await records.raise_to("t", "d", 1, "a", status="indexed") == "first"
    assert await index(records, "d", 1, "b") == "conflict"
    record = await records.get("t", "d")
    assert record is not None
    assert (record.status, record.content_hash, record.reason) == ("indexed", "a", CONFLICT)


async def test_a_writer_whose_record_was_lost_changes_nothing(records: Records, redis: Redis) -> None:
    await records.claim("t", "d", 1, "a")
    await redis.flushall()
    assert await records.raise_to("t", "d", 1, "a", status="indexed") == "lost"
    assert await records.current("t", ["d"]) == {}


async def test_a_tombstone_is_a_version_too(records: Records) -> None:
    await index(records, "d", 1)
    await records.claim("t", "d", 2, "gone")
    assert await records.raise_to("t", "d", 2, "gone", status="removed") == "raised"
    record = await records.get("t", "d")
    assert record is not None
    assert (record.status, record.version, record.indexed) == ("removed", 2, 0)
    assert await records.current("t", ["d", "never"]) == {}
    assert await index(records, "d", 1) == "superseded"
    assert await index(records, "d", 3) == "raised"


async def test_a_refused_version_says_why_and_leaves_the_current_one(records: Records) -> None:
    await index(records, "d", 1)
    await records.claim("t", "d", 2, "bad")
    await records.refuse("t", "d", 2, "sections.0.end: lies beyond the text", "bad")
    record = await records.get("t", "d")
    assert record is not None
    assert (record.status, record.version, record.indexed) == ("rejected", 2, 1)
    assert record.reason == "sections.0.end: lies beyond the text"
    assert await records.current("t", ["d"]) == {"d": 1}
    await records.refuse("t", "d", 1, "late")
    assert await index(records, "d", 2, "mended") == "raised", "a refused version may come again with better content"
    mended = await records.get("t", "d")
    assert mended is not None
    assert (mended.status, mended.reason) == ("indexed", "")


async def test_racing_writers_leave_the_highest_version(records: Records) -> None:
    async def deliver(version: int) -> None:
        await index(records, "d", version)

    await asyncio.gather(*(deliver(version) for version in [*range(1, 40), *range(39, 0, -1)]))
    assert await records.current("t", ["d"]) == {"d": 39}


async def test_current_is_by_tenant_and_ids_may_be_any_text(records: Records) -> None:
    ids = ["a", "a:b", "ü/ß 😀", "x" * 512]
    for version, document_id in enumerate(ids, 1):
        await index(records, document_id, version)
    assert await records.current("t", [*ids, "a"]) == {"a": 1, "a:b": 2, "ü/ß 😀": 3, "x" * 512: 4}
    assert await records.current("other", ids) == {}
    assert await records.current("t", []) == {}


async def test_tenants_with_colons_do_not_meet(records: Records) -> None:
    await records.claim("t:a", "b", 1, "h")
    assert await records.get("t", "a:b") is None


async def test_listing_pages_through_what_is_readable(records: Records) -> None:
    for number in range(25):
        await index(records, f"d{number:02}", 1, acl=("staff",) if number % 5 else ())
    await records.claim("t", "d05", 2, "gone")
    await records.raise_to("t", "d05", 2, "gone", status="removed")

    async def pages(groups: list[str], limit: int) -> list[list[str]]:
        found, after = [], ""
        while True:
            page, following = await records.listing("t", groups, after, limit)
            found.append([record.document_id for record in page])
            if following is None:
                return found
            after = following

    assert await pages([], 2) == [["d00", "d10"], ["d15", "d20"]]
    assert await pages([], 3) == [["d00", "d10", "d15"], ["d20"]]
    everything = [f"d{number:02}" for number in range(25) if number != 5]
    assert [document_id for page in await pages(["staff"], 7) for document_id in page] == everything
    assert await pages(["staff"], 24) == [everything]


async def test_the_token_stays_until_a_write_replaces_it_twice(records: Records) -> None:
    first = await records.token("t")
    assert await records.token("t") == first
    during = ""

    async def failing_write() -> None:
        nonlocal during
        async with records.changing("t"):
            during = await records.token("t")
            raise RuntimeError("the write fails")

    with pytest.raises(RuntimeError):
        await failing_write()
    after = await records.token("t")
    assert len({first, during, after}) == 3
    assert await records.token("other") not in {first, during, after}


async def test_redis_gone_is_temporary() -> None:
    async with connected("redis://127.0.0.1:1") as nowhere:
        records = Records(nowhere)
        for call in (
            records.assign("t", "d"),
            records.get("t", "d"),
            records.current("t", ["d"]),
            records.listing("t", []),
            records.token("t"),
            records.replace_token("t"),
        ):
            with pytest.raises(Temporary, match="Redis"):
                await call


async def test_a_version_whose_writer_gave_up_is_rejected_until_its_content_comes_again(records: Records) -> None:
    await records.claim("t", "d", 1, "a")
    await records.refuse("t", "d", 1, "another content")
    assert [(one.status, one.version) for one in [await records.get("t", "d")] if one] == [("pending", 1)]
    await records.refuse("t", "d", 1, "Typesense stayed away", given_up=True)
    refused = await records.get("t", "d")
    assert refused is not None
    assert (refused.status, refused.reason) == ("rejected", "Typesense stayed away")
    assert await index(records, "d", 1, "b") == "conflict"
    assert await records.claim("t", "d", 1, "a") == "claimed"
    again = await records.get("t", "d")
    assert again is not None
    assert (again.status, again.reason) == ("pending", "")
    assert await index(records, "d", 1, "a") == "first"
    await records.refuse("t", "d", 1, "late news", given_up=True)
    indexed = await records.get("t", "d")
    assert indexed is not None
    assert indexed.status == "indexed"


async def test_what_may_be_read_now_and_when_it_was_last_removed(records: Records) -> None:
    for document_id, acl in [("open", ()), ("staff", ("staff",)), ("back", ()), ("gone", ())]:
        await index(records, document_id, 1, acl=acl)
    for document_id in ("back", "gone"):
        await records.claim("t", document_id, 2, "none")
        await records.raise_to("t", document_id, 2, "none", status="removed")
    await index(records, "back", 4)
    await records.assign("t", "open")
    ids = ["open", "staff", "back", "gone", "unknown", "open"]
    assert await records.readable("t", ["x"], ids) == {"open": Readable(1, 0), "back": Readable(4, 2)}
    assert await records.readable("t", ["x", "staff"], ["staff"]) == {"staff": Readable(1, 0)}
    assert await records.readable("t", [], []) == await records.readable("u", [], ["open"]) == {}


async def test_a_removal_that_comes_late_is_known_all_the_same(records: Records) -> None:
    await index(records, "d", 1)
    await records.claim("t", "d", 2, "gone", removal=True)
    await index(records, "d", 4)
    assert await records.raise_to("t", "d", 2, "gone", status="removed") == "superseded"
    assert await records.readable("t", [], ["d"]) == {"d": Readable(4, 2)}
    assert await records.claim("t", "d", 3, "gone too", removal=True) == "superseded"
    assert await records.claim("t", "d", 2, "gone", removal=True) == "superseded"
    assert await records.claim("t", "d", 3, "no removal") == "superseded"
    assert await records.readable("t", [], ["d"]) == {"d": Readable(4, 3)}


async def test_a_removal_that_is_refused_is_none(records: Records) -> None:
    await index(records, "d", 2)
    assert await records.claim("t", "d", 2, "gone", removal=True) == "conflict"
    await index(records, "d", 3)
    assert await records.readable("t", [], ["d"]) == {"d": Readable(3, 0)}


async def test_the_token_is_replaced_in_the_step_that_makes_a_version_current(records: Records) -> None:
    """Whoever dies right after it leaves no token behind under which an older answer is found."""
    tokens = [await records.token("t")]
    for version, status in [(1, "indexed"), (2, "removed"), (3, "indexed")]:
        await records.claim("t", "d", version, "a")
        assert await records.token("t") == tokens[-1]
        await records.raise_to("t", "d", version, "a", status=status)  # type: ignore[arg-type]
        tokens.append(await records.token("t"))
    assert len(set(tokens)) == 4
    for version in (3, 2):  # it comes again
        await records.raise_to("t", "d", version, "a", status="indexed")
    assert await records.token("t") == tokens[-1]


async def test_what_follows_a_refused_content_is_not_the_first(records: Records) -> None:
    """Chunks of the refused one may be left, if its writer died before it deleted them."""
    await records.claim("t", "d", 1, "bad")
    await records.refuse("t", "d", 1, "the index refuses it", "bad")
    assert await index(records, "d", 1, "good") == "raised"


async def test_a_version_is_current_since_redis_own_time(records: Records) -> None:
    async def now() -> int:
        seconds, micros = await records.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    before = await now()
    await index(records, "d", 1)
    since = await records.since("t", ["d", "unknown"])
    assert (list(since), since["d"].version) == (["d"], 1)
    first = since["d"].ms
    assert first is not None
    assert before <= first <= await now()
    while await now() == first:
        pass
    assert await index(records, "d", 1) == "again"
    assert (await records.since("t", ["d"]))["d"].ms == first
    await index(records, "d", 2)
    second = (await records.since("t", ["d"]))["d"].ms
    assert second is not None
    assert second > first
    await records.claim("t", "d", 3, "gone", removal=True)
    await records.raise_to("t", "d", 3, "gone", status="removed")
    assert await records.since("t", ["d"]) == {}


async def test_since_when_is_not_known_of_a_record_of_before(records: Records) -> None:
    await index(records, "d", 1)
    await records.redis.hdel("knts:doc:{t}:d", "since")
    await records.redis.hdel("knts:doc:t:d", "since")
    assert (await records.since("t", ["d"]))["d"].ms is None


async def test_a_record_that_cannot_be_read_hides_its_document_and_no_other(
    records: Records, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for document_id in ("good", "text", "versionless", "spoilt", "acl"):
        await index(records, document_id, 3)
    await redis.delete(document_key("t", "text"))
    await redis.set(document_key("t", "text"), "no hash")
    await redis.hdel(document_key("t", "versionless"), "version")
    await redis.hset(document_key("t", "spoilt"), "version", "three")
    await redis.hset(document_key("t", "acl"), "acl", "[")
    ids = ["text", "versionless", "good", "spoilt", "acl"]
    assert await records.current("t", ids) == {"good": 3, "acl": 3}
    assert all(repr(each) in caplog.text for each in ("text", "versionless", "spoilt"))
    assert await records.readable("t", [], ids) == {"good": Readable(3, 0)}
    assert set(await records.since("t", ids)) == {"good", "acl"}
    shown, _ = await records.listing("t", [])
    assert {each.document_id for each in shown} - {"versionless"} == {"good"}
