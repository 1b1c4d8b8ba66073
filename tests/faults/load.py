"""A mix of document changes, searches and questions on a running kn-ts, and a note of all that came of it."""

import asyncio
import hashlib
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from knts import events
from tests.e2e.roads import Road
from tests.faults.oracles import LAST, Change, Frame, Heard, judge_hits

STREAM = {"Accept": "text/event-stream"}
WORDS = ("harbour", "granite", "lantern", "winter", "ledger", "herring", "rope", "tide", "chapel", "bell", "ferry")
KEEPER = "The lighthouse of {place} was built of granite. The keeper of the lighthouse of {place} is {name}. "
NAMES = ("Maren Oldfather", "Jonas Brackwater", "Ida Fenwick", "Pelle Storm")
LISTEN = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)  # heartbeats come every 15 s
CALL = aiohttp.ClientTimeout(total=40, sock_connect=5)
AGAIN = 0.3  # seconds until what was not accepted is sent again


@dataclass
class Load:
    """`deadline` is the run's for an answer, `margin` what an end may be late, both in seconds."""

    road: Road
    chance: random.Random
    deadline: float
    margin: float
    http: aiohttp.ClientSession
    accepted: list[Change] = field(default_factory=list)
    texts: dict[tuple[str, int], str] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    prefix: str = field(default_factory=lambda: "x" + secrets.token_hex(3))
    stopping: bool = False
    doors: Sequence[str] = ()  # addresses of ingress that askers go to in turn; without them the road's one
    _asked: int = 0

    def door(self) -> str:
        """Where the next asker goes to, and one who comes back."""
        self._asked += 1
        return self.doors[self._asked % len(self.doors)] if self.doors else self.road.base_url

    def named(self, name: str) -> str:
        """A document's id: so unlike all others that no typo leads from one to the next."""
        return self.prefix + hashlib.sha256(f"{self.prefix} {name}".encode()).hexdigest()[:10]

    @property
    def searches_failed(self) -> int:
        """How many searchers were told of a failure, or heard nothing."""
        return sum(self.answered[f"search: {what}"] for what in ("502", "503", "504", "no answer"))

    @property
    def places(self) -> list[str]:
        """Where lighthouses stand: their documents are there from the beginning to the end."""
        return [self.named(f"isle {letter}") for letter in "abcdef"]

    async def prepare(self) -> None:
        """Documents that questions are asked about."""
        for place, name in zip(self.places, NAMES * 2, strict=False):
            await self.change(Change(place, 1, KEEPER.format(place=place, name=name)), broker=False)

    async def work(self) -> None:
        """Everything at once until `stopping`; what was begun is brought to its end."""
        async with asyncio.TaskGroup() as tasks:
            for writer in range(3):
                tasks.create_task(self._write(f"writer {writer}", random.Random(self.chance.random())))
            tasks.create_task(self._number(random.Random(self.chance.random())))
            for _ in range(2):
                tasks.create_task(self._search(random.Random(self.chance.random())))
            for _ in range(3):
                tasks.create_task(self._ask(random.Random(self.chance.random())))

    # -- documents ----------------------------------------------------------------------------------------------------

    async def _write(self, name: str, chance: random.Random) -> None:
        """Documents in versions of their own, in any order, some twice, some to the Broker, some deleted."""
        for number in range(10_000):
            document_id = self.named(f"{name} {number}")
            versions = list(range(1, chance.randint(2, 7)))
            gone = {version for version in versions if chance.random() < 0.2}
            changes = [
                Change(document_id, each, None if each in gone else prose(chance, document_id, each))
                for each in versions
            ]
            changes += chance.choices(changes, k=len(changes) // 3)
            chance.shuffle(changes)
            for start in range(0, len(changes), 3):
                batch = changes[start : start + 3]
                await asyncio.gather(*(self.change(one, broker=chance.random() < 0.5) for one in batch))
                await asyncio.sleep(chance.uniform(0.1, 0.8))
            if self.stopping:
                return

    async def _number(self, chance: random.Random) -> None:
        """Documents whose versions ingress assigns, one change after the other."""
        while not self.stopping:
            document_id = self.named(f"numbered {chance.randrange(8)}")
            text = None if chance.random() < 0.2 else prose(chance, document_id, 0)
            version = await self._put(document_id, None, text)
            self._accept(Change(document_id, version, text))
            await asyncio.sleep(chance.uniform(0.2, 1.5))

    async def change(self, change: Change, *, broker: bool) -> None:
        """Send a change until it is accepted."""
        if change.text is not None:
            self.texts[change.document_id, change.version] = change.text
        if broker:
            await self._publish(change)
        else:
            await self._put(change.document_id, change.version, change.text)
        self._accept(change)

    def _accept(self, change: Change) -> None:
        self.accepted.append(change)
        if change.text is not None:
            self.texts[change.document_id, change.version] = change.text

    async def _publish(self, change: Change) -> None:
        data: dict[str, Any] = {"id": change.document_id, "version": change.version}
        kind = events.DOCUMENT_DELETED
        if change.text is not None:
            kind, data = events.DOCUMENT_UPSERTED, {**data, "title": change.document_id, "text": change.text}
        named = {"specversion": "1.0", "id": secrets.token_hex(8), "source": "/faults", "type": kind}
        headers = {f"ce-{name}": value for name, value in named.items()} | {"Content-Type": "application/json"}
        while True:
            status, _ = await self._call("publish", "POST", self.road.broker_url, headers=headers, json=data)
            if status == 202:
                return
            await asyncio.sleep(AGAIN)

    async def _put(self, document_id: str, version: int | None, text: str | None) -> int:
        url = f"{self.road.base_url}/v1/documents/{quote(document_id, safe='')}"
        named = {} if version is None else {"version": version}
        while True:
            if text is None:
                status, body = await self._call("delete", "DELETE", url, params=named)
            else:
                status, body = await self._call("put", "PUT", url, json={"title": document_id, "text": text, **named})
            if status == 202:
                return int(body["version"])
            await asyncio.sleep(AGAIN)

    async def _call(self, what: str, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and body; 0 where there was no answer. An answer that is not designed is a fault."""
        try:
            async with self.http.request(method, url, **{"timeout": CALL, **more}) as response:
                status, body = response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            self.answered[f"{what}: no answer"] += 1
            return 0, {}
        self._judge_status(what, response, body)
        return status, body

    def _judge_status(self, what: str, response: aiohttp.ClientResponse, body: Any) -> None:
        self.answered[f"{what}: {response.status}"] += 1
        if response.status not in (200, 202, 429, 502, 503, 504):
            self.faults.append(f"{what} was answered {response.status}: {body}")
        if response.status in (429, 503) and "Retry-After" not in response.headers:
            self.faults.append(f"{what} was answered {response.status} without Retry-After: {body}")

    # -- searches -----------------------------------------------------------------------------------------------------

    async def _search(self, chance: random.Random) -> None:
        while not self.stopping:
            await self.search(chance.choice([chance.choice(self.places), chance.choice(WORDS)]))
            await asyncio.sleep(chance.uniform(0.1, 1.0))

    async def search(self, query: str) -> tuple[int, list[dict[str, Any]]]:
        """A search: its status and hits."""
        status, body = await self.searched(query)
        return status, body.get("hits", []) if status == 200 else []

    async def searched(self, query: str) -> tuple[int, dict[str, Any]]:
        """A search: its status and body, a result or a problem."""
        began = time.monotonic()
        status, body = await self._call("search", "GET", f"{self.road.base_url}/v1/search", params={"q": query})
        hits = body.get("hits", []) if status == 200 else []
        self.faults += judge_hits(hits, self.texts)
        if status == 200 and query in self.places and query not in {hit["document_id"] for hit in hits}:
            self.faults.append(f"a search does not find {query}")
        if (took := time.monotonic() - began) > 10 + self.margin:
            self.faults.append(f"a search took {took:.1f} s")
        return status, body

    # -- questions ----------------------------------------------------------------------------------------------------

    async def _ask(self, chance: random.Random) -> None:
        while not self.stopping:
            request = self.question(chance.choice(self.places), chance.choice(["use", "use", "refresh", "off"]))
            askers = chance.choice([1, 1, 2, 3])
            await asyncio.gather(*(self.listen(request) for _ in range(askers)))
            await asyncio.sleep(chance.uniform(0.2, 2.0))

    def question(self, place: str, cache: str = "use") -> dict[str, Any]:
        return {"question": f"Who is the keeper of the lighthouse of {place}?", "cache": cache}

    async def listen(self, request: dict[str, Any]) -> Heard:
        """Ask and follow the stream to its end, coming back whenever it breaks."""
        heard = Heard(time.monotonic())
        self.heard.append(heard)
        url = f"{self.door()}/v1/answers"
        try:
            async with self.http.post(url, json=request, headers=STREAM, timeout=LISTEN) as response:
                if response.status == 200:
                    await self._follow(response, heard)
                else:
                    heard.refused = str(response.status)
                    self._judge_status("ask", response, await response.text())
        except (aiohttp.ClientError, TimeoutError, OSError):
            heard.refused = "" if heard.frames else "no answer"
        while not heard.refused and heard.outcome not in LAST and not self._given_up(heard):
            await self._resume(heard)
        if heard.refused or heard.outcome in LAST:
            heard.ended = time.monotonic()
        self.answered[f"ask: {heard.outcome}"] += 1
        return heard

    async def gather(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for the whole answer as JSON; empty where there was none."""
        timeout = aiohttp.ClientTimeout(total=self.deadline + self.margin)
        status, body = await self._call("ask", "POST", f"{self.door()}/v1/answers", json=request, timeout=timeout)
        return body if status == 200 else {}

    def _given_up(self, heard: Heard) -> bool:
        return time.monotonic() - heard.asked - heard.away > self.deadline + 2 * self.margin

    async def _resume(self, heard: Heard) -> None:
        broke = time.monotonic()
        if not heard.frames:  # not even its id was heard
            heard.refused = "no answer"
            return
        url = f"{self.door()}/v1/answers/{heard.id}/events"
        headers = {**STREAM, "Last-Event-ID": heard.frames[-1].id}
        try:
            async with self.http.get(url, headers=headers, timeout=LISTEN) as response:
                heard.away += time.monotonic() - broke
                self.answered[f"resume: {response.status}"] += 1
                if response.status == 200:
                    await self._follow(response, heard)
                elif response.status != 503:
                    heard.refused = str(response.status)
                    heard.faults.append(f"was answered {response.status} when its client came back")
        except (aiohttp.ClientError, TimeoutError, OSError):
            heard.away += time.monotonic() - broke
        heard.away += AGAIN
        await asyncio.sleep(AGAIN)

    async def _follow(self, response: aiohttp.ClientResponse, heard: Heard) -> None:
        async for frame in frames_of(response):
            heard.frames.append(frame)

    async def reread(self) -> None:
        """What each answer is afterwards."""
        for heard in self.heard:
            if heard.outcome in LAST:
                status, body = await self._call("answer", "GET", f"{self.road.base_url}/v1/answers/{heard.id}")
                heard.stored = body if status == 200 else {"status": status}


async def frames_of(response: aiohttp.ClientResponse) -> AsyncIterator[Frame]:
    """The frames of a stream; comments are heartbeats and are left out, and so is a frame that was cut."""
    fields: dict[str, str] = {}
    async for raw in response.content:
        name, _, value = raw.decode().rstrip("\r\n").partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Frame(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}


def prose(chance: random.Random, document_id: str, version: int) -> str:
    """A text of one passage or several that says whose it is."""
    sentences = chance.choice([3, 3, 60])
    said = " ".join(f"{chance.choice(WORDS)} {chance.choice(WORDS)} of {document_id}." for _ in range(sentences))
    return f"Version {version} of {document_id}, {chance.randrange(10**9)}. {said}"
