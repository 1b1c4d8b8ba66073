"""Every oracle fires: on a calm run each planted bug is told, and nothing is told without one."""

import copy
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.faults import state
from tests.faults.oracles import Change, Frame
from tests.faults.world import World, Worlds

Plant = Callable[[World], Awaitable[None]]


def document(w: World, number: int = 0) -> str:
    return w.load.places[number]


async def an_accepted_event_that_was_lost(w: World) -> None:
    w.load.accepted.append(Change(document(w), 9, "never sent"))


async def an_event_applied_against_the_order(w: World) -> None:
    w.load.accepted[:] = [change for change in w.load.accepted if change.document_id != document(w)]
    w.load.accepted.append(Change(document(w), 1, "another text"))


async def a_deletion_that_was_lost(w: World) -> None:
    w.load.accepted.append(Change(document(w), 9, None))


async def a_chunk_deleted_behind_our_back(w: World) -> None:
    chunk = await a_chunk(w, document(w, 2))
    url, headers = state.typesense(w.processes)
    async with w.load.http.delete(f"{url}/documents/{chunk}", headers=headers) as response:
        assert response.status == 200


async def a_chunk_of_an_older_version_left_behind(w: World) -> None:
    url, headers = state.typesense(w.processes)
    async with w.load.http.get(f"{url}/documents/{await a_chunk(w, document(w, 1))}", headers=headers) as response:
        chunk = {**await response.json(), "id": "left-behind", "version": 0}
    async with w.load.http.post(f"{url}/documents", headers=headers, json=chunk) as response:
        assert response.status == 201


async def a_chunk(w: World, document_id: str) -> str:
    """The id of a document's chunk."""
    url, headers = state.typesense(w.processes)
    async with w.load.http.get(f"{url}/documents/export", headers=headers) as response:
        lines = (await response.text()).splitlines()
    found = [line for line in lines if f'"document_id":"{document_id}"' in line]
    return str(found[0].split('"id":"')[1].split('"')[0])


async def a_hit_that_its_document_does_not_say(w: World) -> None:
    w.load.texts[document(w), 1] = "something else"
    await w.load.search(document(w))


async def a_document_that_no_search_finds(w: World) -> None:
    w.load.prefix = "nowhere"
    await w.load.search(document(w))


async def a_garbled_delta(w: World) -> None:
    delta = next(frame for frame in w.load.heard[0].frames if frame.event == "delta")
    delta.data["text"] += "!"


async def a_doubled_delta(w: World) -> None:
    frames = w.load.heard[0].frames
    at = next(number for number, frame in enumerate(frames) if frame.event == "delta")
    frames.insert(at, frames[at])


async def an_answer_ended_twice(w: World) -> None:
    frames = w.load.heard[0].frames
    frames.append(Frame(frames[-1].id, "failed", frames[-1].data))


async def an_answer_stored_otherwise(w: World) -> None:
    w.load.heard[0].stored = {**(w.load.heard[0].stored or {}), "answer": "something else"}


async def a_client_left_waiting(w: World) -> None:
    w.load.heard[0].ended = None


async def a_client_served_too_late(w: World) -> None:
    w.load.heard[0].asked -= 1000


async def a_bare_failure(w: World) -> None:
    await w.load._call("plant", "GET", f"{w.load.road.base_url}/v1/no-such-thing")


async def a_good_event_given_up(w: World) -> None:
    """Straight into the sink, as the Broker would."""
    headers = {"ce-specversion": "1.0", "ce-id": w.load.prefix, "ce-source": "/faults", "ce-type": "knts.document.x.v1"}
    async with w.load.http.post(w.processes.run["functions"]["dead-letter"], headers=headers) as response:
        assert response.status == 202


PLANTED: dict[Plant, str] = {  # and what the oracles must say
    an_accepted_event_that_was_lost: "should be indexed as version 9",
    an_event_applied_against_the_order: "has another text than version 1",
    a_deletion_that_was_lost: "should be removed by version 9",
    a_hit_that_its_document_does_not_say: "a search shows of",
    a_document_that_no_search_finds: "a search does not find",
    a_garbled_delta: "its deltas say",
    a_doubled_delta: "the event delta with",
    an_answer_ended_twice: "has the last events",
    an_answer_stored_otherwise: "is given otherwise afterwards",
    a_client_left_waiting: "was left waiting",
    a_client_served_too_late: "its limit is",
    a_bare_failure: "plant was answered 404",
    a_chunk_deleted_behind_our_back: "is (None, None)",
    a_chunk_of_an_older_version_left_behind: "has chunks [(0, 0), (1, 0)]",
    a_good_event_given_up: "a good event was given up",
}


@pytest.mark.timeout(300)
async def test_each_planted_bug_is_told(world: Worlds) -> None:
    """Planted one after the other; what the oracles have noted is undone each time, what the run holds is not."""
    async with world() as w:
        heard = await w.load.listen(w.load.question(document(w), "off"))
        assert heard.outcome == "completed"
        await w.quiet()
        known = await w.faults()
        assert known == []
        silent = {}
        for plant, wanted in PLANTED.items():
            sound = copy.deepcopy((w.load.accepted, w.load.texts, w.load.prefix, w.load.heard))
            await plant(w)
            told = [fault for fault in await w.faults() if fault not in known]
            if not any(wanted in fault for fault in told):
                silent[plant.__name__] = told
            w.load.accepted, w.load.texts, w.load.prefix, w.load.heard = sound
            w.load.faults.clear()
            known = await w.faults()
        assert silent == {}


async def test_an_event_on_its_way_is_not_taken_for_settled(world: Worlds) -> None:
    async with world() as w:
        pid = w.processes.send("index-document", signal.SIGSTOP)
        assert pid is not None
        await w.load.change(Change(document(w), 2, "on its way"), broker=True)
        with pytest.raises(TimeoutError):
            await state.settled(w.processes, seconds=1)
        w.processes.send("index-document", signal.SIGCONT)
        assert await state.settled(w.processes) < 60
