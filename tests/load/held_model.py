"""A stand-in for Ollama that says a sentence when it is told to, and keeps every answer open until then."""

import asyncio
import contextlib

from aiohttp import web

from tests.scripted_ollama import ScriptedOllama, done, line


class HeldModel(ScriptedOllama):
    """Each answer is what was said since the beginning, and goes on until `end`."""

    def __init__(self) -> None:
        super().__init__()
        self._said: list[str] = []
        self._ended = False
        self._news = asyncio.Condition()

    async def say(self, text: str) -> None:
        """Add to every answer."""
        async with self._news:
            self._said.append(text)
            self._news.notify_all()

    async def end(self) -> None:
        """Let every answer end."""
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if probe := self.probe(asked):
            return probe
        self.asked.append(asked)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        given = 0
        with contextlib.suppress(ConnectionError):
            while given < len(self._said) or not self._ended:
                async with self._news:
                    await self._news.wait_for(lambda at=given: at < len(self._said) or self._ended)
                for text in self._said[given:]:
                    await response.write(line(text))
                    given += 1
            await response.write(done())
        return response
