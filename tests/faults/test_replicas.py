"""Three replicas of ingress and three of llm-answer: a crowd costs one generation, whoever of them dies or stops."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from knts.clients.redis import connected
from tests.faults.processes import signalled, until
from tests.faults.replicas import Replicated
from tests.faults.world import World, Worlds

ASKERS = 1000
OWN = ("id", "timings_ms", "cache")  # what may differ between two who asked the same
ASLEEP = 25.0  # seconds that a leader is stopped for: several leases, and far less than the askers' deadline
SLOW = 0.1  # seconds between two words of a model that gives a test time to act in mid-answer


async def ask_all(w: World, request: dict[str, Any], askers: int) -> list[dict[str, Any]]:
    """The final answers of so many who ask the same at once, three of four as a stream."""

    async def streamed() -> dict[str, Any]:
        heard = await w.load.listen(request)
        return heard.frames[-1].data if heard.frames else {"refused": heard.refused}

    async def whole() -> dict[str, Any]:
        return await w.load.gather(request)

    return await asyncio.gather(*(streamed() if number % 4 else whole() for number in range(askers)))


def same(answers: Iterable[dict[str, Any]]) -> Counter[str]:
    """How often each answer was given."""
    return Counter(str({name: answer[name] for name in sorted(answer) if name not in OWN}) for answer in answers)


async def first_words(w: World) -> str:
    """Wait until somebody hears the first words; the flight that they come from."""
    await until(lambda: any(frame.event == "delta" for heard in w.load.heard for frame in heard.frames), 80)
    joined = (frame for heard in w.load.heard for frame in heard.frames if frame.event == "joined")
    return str(next(joined).data["flight"])


@pytest.mark.timeout(300)
async def test_a_thousand_at_once_cost_one_call(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        before = len(many.ollama.calls)
        began, spent = time.monotonic(), many.cpu_seconds()
        answers = await ask_all(w, w.load.question(w.load.places[0]), ASKERS)
        w.processes.note(f"{len(answers)} answers, the last after {time.monotonic() - began:.1f} s")
        took = {name: f"{seconds - spent[name]:.1f}" for name, seconds in many.cpu_seconds().items()}
        w.processes.note(f"seconds of CPU: {took}")
        assert len(same(answers)) == 1
        assert answers[0]["status"] == "completed"
        assert len(many.ollama.calls) - before == 1
        await w.load.reread()
        assert w.streams() == []


@pytest.mark.timeout(300)
async def test_a_leader_that_is_killed_costs_one_call_more(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        before = len(many.ollama.calls)
        many.ollama.pace = SLOW
        asking = asyncio.create_task(ask_all(w, w.load.question(w.load.places[1]), ASKERS))
        leader = await many.leader(await first_words(w))
        many.send(leader, signal.SIGKILL)
        answers = await asking
        w.processes.note(f"{len(answers)} answers")
        assert len(same(answers)) == 1
        assert answers[0]["status"] == "completed"
        assert len(many.ollama.calls) - before == 2
        anew = sum(any(frame.event == "reset" for frame in heard.frames) for heard in w.load.heard)
        w.processes.note(f"{anew} of {len(w.load.heard)} readers began anew: the model continues, or says the same")
        await w.load.reread()
        assert w.streams() == []


@pytest.mark.timeout(200)
async def test_clients_of_an_ingress_that_is_killed_get_the_rest_from_another(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        many.ollama.pace = SLOW
        request = w.load.question(w.load.places[2])
        asking = [asyncio.create_task(w.load.listen(request)) for _ in range(60)]
        await first_words(w)
        many.send(many.of("ingress")[1], signal.SIGKILL)
        heard = await asyncio.gather(*asking)
        assert Counter(one.outcome for one in heard) == {"completed": 60}
        assert w.load.answered["resume: 200"] >= 10
        await many.mend()
        await w.load.reread()
        assert w.streams() == []


@pytest.mark.timeout(200)
async def test_while_a_leader_sleeps_another_answers_its_askers(crowd: Worlds, many: Replicated) -> None:
    async with crowd() as w:
        many.ollama.pace = SLOW
        asking = [asyncio.create_task(w.load.listen(w.load.question(w.load.places[3]))) for _ in range(20)]
        flight = await first_words(w)
        pid = many.send(await many.leader(flight), signal.SIGSTOP)
        many.ollama.pace = 0.0
        try:
            answered, waiting = await asyncio.wait(asking, timeout=ASLEEP)
            written = await frames_in(w, flight)
        finally:
            signalled(pid, signal.SIGCONT)
            await asyncio.wait(asking)
        assert not waiting, f"{len(waiting)} askers still waited after {ASLEEP:g} s"
        assert Counter(one.result().outcome for one in answered) == {"completed": 20}
        await many.mend()  # the old leader is awake and its delivery is over
        assert await frames_in(w, flight) == written
        await w.load.reread()
        assert w.streams() == []


async def frames_in(w: World, flight: str) -> int:
    """How many frames a flight has."""
    async with connected(w.processes.run["env"]["REDIS_URL"]) as redis:
        return int(await redis.xlen(f"knts:flow:{flight}"))
