"""The handlers of search: one frame for the one who waits, one reply for the answer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from functions.search import handler
from functions.search.memory import Memory
from functions.search.patience import Patient
from knts import channel, events, schemas
from knts.channel import Frame
from knts.errors import IndexUnavailable, Permanent, Temporary
from knts.events import Event
from knts.lookup import Scope
from tests.searching import FakeIndex, ScriptedVersions, chunk

HELD = [
    chunk("lamp", "The keeper lights the lamp each night.", place="Ouessant"),
    chunk("fog", "Fog hides the lamp.", place="Brest"),
]


@dataclass
class FakeFrames:
    """One ask's stream, with what is noted on the ask."""

    state: str = ""  # 'ended' or 'gone' for an ask that takes nothing more
    written: list[Frame] = field(default_factory=list)
    noted: dict[str, str] = field(default_factory=dict)

    async def append(
        self, correlation_id: str, frame_type: str, data: dict[str, Any], /, *, once: bool = True, **fields: str | float
    ) -> str:
        if self.state:
            return self.state
        if once and any(frame.type == frame_type for frame in self.written):
            return "again"
        self.written.append(Frame(f"1-{len(self.written)}", frame_type, data))
        self.noted |= {name: str(value) for name, value in fields.items()}
        return "written"

    async def ask(self, correlation_id: str) -> dict[str, str] | None:
        return self.noted or None

    async def frames(self, stream_key: str, after: str = "0", count: int = 1000) -> list[Frame]:
        return self.written


@dataclass
class FakeRecords(ScriptedVersions):
    """Versions, and a token that tells the index calls made before it was read."""

    index: FakeIndex = field(default_factory=lambda: FakeIndex([]))

    async def token(self, tenant: str) -> str:
        return f"{tenant} after {len(self.index.calls)} calls"


@dataclass
class Desk:
    """The handlers with their fakes."""

    index: FakeIndex = field(default_factory=lambda: FakeIndex(HELD))
    frames: FakeFrames = field(default_factory=FakeFrames)

    @property
    def memory(self) -> Memory:
        return Memory(self.index, 1)

    async def search(self, **data: Any) -> None:
        event = requested(events.SEARCH_REQUESTED, {"query": "lamp", "groups": [], **data})
        return await handler.search(
            event, memory=self.memory, records=FakeRecords({}, self.index), frames=self.frames, seconds=5
        )

    async def answer(self, question: str = "Who lights the lamp?", **data: Any) -> Event | None:
        event = requested(events.ANSWER_REQUESTED, {"question": question, "groups": [], **data})
        records = FakeRecords({}, self.index)
        return await handler.find_passages(event, memory=self.memory, records=records, frames=self.frames, seconds=5)


def requested(event_type: str, data: dict[str, Any]) -> Event:
    return events.new_event(event_type, "/knts/ingress", data, id="e1", tenant="t", correlationid="a" * 32)


async def test_a_search_ends_with_its_result_and_no_reply() -> None:
    desk = Desk()
    assert await desk.search(limit=1, facets=["place"]) is None
    [frame] = desk.frames.written
    assert frame.type == channel.RESULT
    assert frame.last
    assert [hit["document_id"] for hit in frame.data["hits"]] == ["fog"]
    assert (frame.data["query"], frame.data["found"], frame.data["limit"]) == ("lamp", 2, 1)
    assert {each["value"] for each in frame.data["facets"]["place"]} == {"Ouessant", "Brest"}
    assert frame.data["took_ms"] >= 0


async def test_filters_take_values_of_any_kind_and_lists_of_which_one_fits() -> None:
    desk = Desk()
    await desk.search(filters={"place": ["Brest", "Nantes"]})
    assert [hit["document_id"] for hit in desk.frames.written[0].data["hits"]] == ["fog"]
    assert handler.filters_of({"act": 3, "open": True, "f": 2.5, "s": "x"}) == {
        "act": ("3",), "open": ("true",), "f": ("2.5",), "s": ("x",)}  # fmt: skip


async def test_an_answers_passages_are_shown_and_handed_on() -> None:
    desk = Desk()
    reply = await desk.answer()
    assert reply is not None
    schemas.check_data(reply)
    assert (reply.type, reply.subject, reply.correlation_id) == (events.PASSAGES_FOUND, "a" * 32, "a" * 32)
    data = reply.payload
    assert [each["document_id"] for each in data["passages"]] == ["lamp", "fog"]
    assert data["request"]["question"] == "Who lights the lamp?"
    [frame] = desk.frames.written
    assert (frame.type, frame.data) == (channel.PASSAGES, {"passages": data["passages"]})
    assert float(desk.frames.noted["search_ms"]) == data["search_ms"]


async def test_the_token_is_read_before_anything_is_looked_up() -> None:
    reply = await Desk().answer()
    assert reply is not None
    assert reply.payload["index_token"] == "t after 0 calls"


async def test_as_many_passages_as_asked_for() -> None:
    reply = await Desk().answer(max_passages=1)
    assert reply is not None
    assert len(reply.payload["passages"]) == 1


async def test_no_passage_is_an_answer_too() -> None:
    reply = await Desk().answer("zzz?")
    assert reply is not None
    assert reply.payload["passages"] == []


async def test_a_second_delivery_hands_on_what_was_shown_at_first() -> None:
    desk = Desk()
    first = await desk.answer()
    desk.index.chunks_held = []
    second = await desk.answer()
    assert first is not None
    assert second is not None
    assert (second.id, second.data) == (first.id, first.data)
    assert len(desk.frames.written) == 1


async def test_a_follow_up_is_searched_and_handed_on_as_a_question_that_stands_by_itself() -> None:
    desk = Desk()
    before = [{"question": "Who lights the lamp of Ouessant?", "titles": ["The lighthouse"]}]
    first = await desk.answer("And who pays him?", conversation=before)
    assert first is not None
    schemas.check_data(first)
    asked = "And who pays him? (lights lamp Ouessant)"
    assert first.payload["request"] == {"question": asked, "groups": []}
    assert first.payload["passages"]
    assert desk.frames.noted["standalone"] == asked
    again = await desk.answer("And who pays him?", conversation=before)
    assert again is not None
    assert again.data == first.data


async def test_a_question_that_stands_by_itself_takes_nothing_of_the_conversation_along() -> None:
    desk = Desk()
    reply = await desk.answer(conversation=[{"question": "What is the leave policy?"}])
    assert reply is not None
    assert reply.payload["request"] == {"question": "Who lights the lamp?", "groups": []}
    assert "standalone" not in desk.frames.noted


@pytest.mark.parametrize("state", ["ended", "gone"])
async def test_nobody_waits_any_more(state: str) -> None:
    desk = Desk(frames=FakeFrames(state))
    assert await desk.answer() is None
    assert await desk.search() is None
    assert desk.frames.written == []


class FailingIndex(FakeIndex):
    """Fails so many times."""

    left = 10**6

    async def look_up(self, scope: Scope, lookups: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            self.calls.append("failed")
            raise IndexUnavailable("Typesense is not available: nobody listens")
        return await super().look_up(scope, lookups)


async def test_who_searches_is_told_at_once_that_the_index_is_away() -> None:
    desk = Desk(FailingIndex(HELD))
    await desk.search()
    [frame] = desk.frames.written
    assert (frame.type, frame.data["problem"]["status"]) == (channel.FAILED, 503)
    assert "Typesense is not available: nobody listens" in frame.data["reason"]
    assert desk.index.calls == ["failed"] * 3


async def test_a_question_goes_back_to_the_broker() -> None:
    desk = Desk(FailingIndex(HELD))
    with pytest.raises(IndexUnavailable):
        await desk.answer()
    assert desk.frames.written == []


async def test_an_index_that_stumbles_is_asked_again() -> None:
    index = FailingIndex(HELD)
    index.left = 2
    desk = Desk(index)
    await desk.search()
    assert [frame.type for frame in desk.frames.written] == [channel.RESULT]


async def test_an_index_that_says_nothing_is_given_up() -> None:
    class SilentIndex(FakeIndex):
        async def look_up(self, scope: Scope, lookups: Any) -> Any:
            await asyncio.sleep(3600)

    patient = Patient(SilentIndex([]), 0.05)
    for _ in range(2):  # the time is for all calls together
        with pytest.raises(IndexUnavailable, match="did not answer within"):
            await patient.look_up(Scope("t"), [])


@pytest.mark.parametrize("error", [Temporary("Redis is not available"), Permanent("refused")])
async def test_other_failures_are_the_brokers_to_see(error: Exception) -> None:
    class BrokenIndex(FakeIndex):
        async def look_up(self, scope: Scope, lookups: Any) -> Any:
            raise error

    with pytest.raises(type(error)):
        await Desk(BrokenIndex([])).search()
