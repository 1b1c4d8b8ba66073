"""A running kn-ts under load, how it is brought to rest, and what all oracles say of it."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.faults import state
from tests.faults.load import Load
from tests.faults.oracles import judge_documents, judge_heard, judge_letters
from tests.faults.processes import Processes
from tests.faults.traces import drawn

ANSWER_DEADLINE = 45.0
CROWD_DEADLINE = 90.0  # where a thousand ask at once
MARGIN = 10.0  # seconds that an end may come late: a paused ingress, a loaded machine


@dataclass
class World:
    """A running kn-ts, its processes, and the load on it."""

    processes: Processes
    load: Load
    seed: str
    earlier: Collection[str] = ()

    async def quiet(self, seconds: float = 120) -> None:
        """Wait until every process is up and the Broker has delivered everything; look at the answers again.

        What failed often waits long for its next attempt: up to `seconds`.
        """
        await self.processes.calm()
        try:
            self.processes.note(f"settled after {await state.settled(self.processes, seconds):.1f} s")
        except TimeoutError:
            self.load.faults.append("the Broker still has something to deliver")
        await self.load.reread()

    async def faults(self) -> list[str]:
        """What all oracles say; the traces of what they speak of are printed."""
        load = self.load
        said = [
            *self.streams(),
            *judge_documents(load.accepted, await state.found(load, self.processes)),
            *judge_letters(await self.given_up(), load.heard, load.searches_failed),
        ]
        print(drawn(said, Path(self.processes.run["env"]["KNTS_TRACE_DIR"])), end="")
        return said

    def streams(self) -> list[str]:
        """What is wrong with the answers, and with calls that were answered otherwise than designed."""
        limits = {"deadline": self.load.deadline, "margin": self.load.margin}
        return [*self.load.faults, *(fault for heard in self.load.heard for fault in judge_heard(heard, **limits))]

    async def given_up(self) -> list[tuple[str, str]]:
        """Type and correlation id of what has become a dead letter since the beginning."""
        letters = await state.letters(self.processes)
        return [letter for letter_id, letter in letters.items() if letter_id not in self.earlier]

    def report(self) -> str:
        """What was done and what came of it."""
        counts = "\n".join(f"  {count:5} {what}" for what, count in sorted(self.load.answered.items()))
        done = "\n".join(f"  {fault}" for fault in self.processes.faults)
        return f"seed {self.seed}; {len(self.load.accepted)} changes accepted\n{done}\n{counts}"


@contextlib.asynccontextmanager
async def opened(
    processes: Processes, chance: random.Random, seed: str, deadline: float = ANSWER_DEADLINE
) -> AsyncIterator[World]:
    """All is up, the load's own documents are there; the report is printed at the end."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        world = World(processes, Load(processes.road, chance, deadline, MARGIN, http), seed)
        try:
            await world.processes.calm()
            await world.load.prepare()
            await state.settled(world.processes)
            world.earlier = await state.letters(world.processes)
            yield world
        finally:
            print(world.report())


Worlds = Callable[[], AbstractAsyncContextManager[World]]
