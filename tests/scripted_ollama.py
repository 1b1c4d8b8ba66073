"""An Ollama that says what a test tells it to: a real HTTP server with a script for each chat call."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from knts.clients.ollama import COUNTING

Step = bytes | float  # bytes are sent, a number of seconds is waited
WAIT_FOREVER = 3600.0


def line(text: str) -> bytes:
    """One piece of an answer."""
    return json.dumps({"message": {"role": "assistant", "content": text}, "done": False}).encode() + b"\n"


def done(reason: str = "stop", prompt: int = 7, answer: int = 3) -> bytes:
    """The last line of an answer."""
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason}
    return json.dumps(last | {"prompt_eval_count": prompt, "eval_count": answer}).encode() + b"\n"


def says(*pieces: str) -> list[Step]:
    """A whole answer in these pieces."""
    return [*map(line, pieces), done()]


class ScriptedOllama:
    """Models by name with their digests; each chat call takes the next script, the last one again and again.

    A script is a list of steps, or an HTTP status with an error message. Whether it continues a given answer is probed
    apart from them.
    """

    def __init__(self) -> None:
        self.models = {"small:latest": "d1"}
        self.context = 8192
        self.version = "0.0.0"  # of which nothing is known
        self.scripts: list[list[Step] | tuple[int, str]] = [says("Hamlet takes place ", "in Denmark.")]
        self.asked: list[dict[str, Any]] = []
        self.counts, self.probed = "One, two", 0  # what is said when it is probed, and how often it was
        self.probe_options: dict[str, Any] = {}
        self.described = 0
        self.embedders: set[str] = set()  # names of those that write no text
        self.capable = True  # whether it tells of capabilities, as since 0.6.4
        self.refused: dict[str, int] = {}  # statuses by the model that is to be described
        self.down: int = 0  # a status that everything but a chat is answered with
        self.cut = asyncio.Event()  # the client closed its connection in mid-answer
        self.streaming = asyncio.Event()
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedOllama"]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/version", self._guarded(lambda _: {"version": self.version})),
                web.get("/api/tags", self._guarded(self._tags)),
                web.post("/api/show", self._guarded(self._show)),
                web.post("/api/chat", self._chat),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _guarded(self, answer: Callable[[dict[str, Any]], Any]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            if self.down:
                return web.json_response({"error": "down"}, status=self.down)
            body = await request.json() if request.can_read_body else {}
            if status := self.refused.get(body.get("model")):
                return web.json_response({"error": "no"}, status=status)
            found = answer(body)
            return web.json_response(found or {"error": "model not found"}, status=200 if found else 404)

        return handle

    def _tags(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"models": [{"name": name, "digest": digest} for name, digest in self.models.items()]}

    def _show(self, body: dict[str, Any]) -> dict[str, Any] | None:
        self.described += 1
        name = body["model"] if ":" in body["model"] else body["model"] + ":latest"
        if name not in self.models:
            return None
        embeds = name in self.embedders
        family = "bert" if embeds else "llama"
        told = {"capabilities": ["embedding" if embeds else "completion"]} if self.capable else {}
        info = {f"{family}.context_length": self.context}
        return {"model_info": info, "details": {"family": family}, **told}

    def probe(self, asked: dict[str, Any]) -> web.Response | None:
        """What it counts when it is probed; None where it is not."""
        if asked["messages"] != list(COUNTING):
            return None
        self.probed += 1
        self.probe_options = asked["options"]
        return web.Response(body=line(self.counts) + done(), content_type="application/x-ndjson")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if probe := self.probe(asked):
            return probe
        self.asked.append(asked)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, tuple):
            return web.json_response({"error": script[1]}, status=script[0])
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self.streaming.set()
        try:
            for step in script:
                if isinstance(step, bytes):
                    await response.write(step)
                else:
                    await asyncio.sleep(step)
        except (asyncio.CancelledError, ConnectionError):
            self.cut.set()
            raise
        return response
