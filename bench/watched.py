"""A pass-through before an Ollama that notes each chat call: when it came, when it spoke, when and how it ended.

Times are of `time.perf_counter()`, which all processes of a Linux machine share.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import orjson
from aiohttp import web

HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass
class Call:
    """One call of /api/chat. `closed`: whoever called has closed the connection before the model was done."""

    opened: float
    first: float | None = None
    done: bool = False
    ended: float | None = None

    @property
    def closed(self) -> bool:
        return self.ended is not None and not self.done


@dataclass
class Watched:
    """The calls so far. `pace` are seconds that each line of an answer is held back, for whoever wants more time."""

    target: str
    url: str = ""
    pace: float = 0.0
    calls: list[Call] = field(default_factory=list)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        call = Call(time.perf_counter())
        if request.path == "/api/chat":
            self.calls.append(call)
        try:
            return await self._passed(request, call)
        finally:
            call.ended = time.perf_counter()

    async def _passed(self, request: web.Request, call: Call) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        url, body = self.target + request.path_qs, await request.read()
        async with self._http.request(request.method, url, data=body, headers=headers) as answer:
            told = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            response = web.StreamResponse(status=answer.status, headers=told)
            streams = request.path == "/api/chat"
            if not streams:
                await response.prepare(request)
            async for line in answer.content:
                if streams:
                    await asyncio.sleep(self.pace)
                if not response.prepared:
                    await response.prepare(request)
                call.done = call.done or (streams and orjson.loads(line).get("done") is True)
                await response.write(line)
                call.first = call.first or time.perf_counter()
            await response.write_eof()
        return response

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Watched"]:
        """Listens at `url` until exit."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        limits = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=limits, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
        ) as self._http:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                await runner.cleanup()
