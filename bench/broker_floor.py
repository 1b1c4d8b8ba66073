"""What `bench.broker` measures against: the least code that takes an event, syncs it, delivers it, keeps the reply.

`python -m bench.broker_floor broker` is that floor (XADD, 202, XREADGROUP, POST, then XADD of the reply with XACK);
`… subscriber` is the function both deliver to. No filters, no retries, no checks: nothing one could leave out.
"""

import asyncio
import os
import sys
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web

from knts.clients.redis import Redis, connected

QUEUE, REPLIES, GROUP = "floor:events", "floor:replies", "floor"


async def subscriber() -> web.Application:
    """Answers each event with a reply that names its cause; `/hang` never answers."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if request.path == "/hang":
            await asyncio.sleep(3600)
        headers = {
            "ce-specversion": "1.0",
            "ce-type": "bench.pong",
            "ce-source": "/bench",
            "ce-id": f"r{request.headers['ce-id']}",
            "ce-causationid": request.headers["ce-id"],
            "content-type": "application/json",
        }
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    return app


async def broker(redis: Redis, target: str) -> web.Application:
    """The floor."""

    async def take(request: web.Request) -> web.Response:
        headers = {str(name): value for name, value in request.headers.items() if name.lower().startswith("ce-")}
        await redis.xadd(QUEUE, {"headers": orjson.dumps(headers), "data": await request.read()})
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    app.router.add_get("/readyz", _ready)
    app.cleanup_ctx.append(lambda _: _delivering(redis, target))
    return app


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


async def _delivering(redis: Redis, target: str) -> Any:
    await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        loop = asyncio.create_task(_deliver_all(redis, http, target))
        yield
        loop.cancel()


async def _deliver_all(redis: Redis, http: aiohttp.ClientSession, target: str) -> None:
    tasks: set[asyncio.Task[None]] = set()
    while True:
        found = await redis.xreadgroup(GROUP, "one", {QUEUE: ">"}, count=16, block=1000)
        for entry_id, fields in (entry for _, entries in found for entry in entries):
            task = asyncio.create_task(_deliver(redis, http, target, entry_id, fields))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _deliver(redis: Redis, http: aiohttp.ClientSession, target: str, entry_id: bytes, fields: Any) -> None:
    headers = {**orjson.loads(fields[b"headers"]), "content-type": "application/json"}
    async with http.post(target, data=fields[b"data"], headers=headers) as response:
        reply, cause = await response.read(), response.headers["ce-causationid"]
    pipeline = redis.pipeline(transaction=False)
    pipeline.xadd(REPLIES, {"attributes": orjson.dumps({"causationid": cause}), "data": reply})
    pipeline.xack(QUEUE, GROUP, entry_id)
    pipeline.xdel(QUEUE, entry_id)
    await pipeline.execute()


async def serve(what: str, port: int) -> None:
    """Run one of the two until it is killed."""
    async with connected(os.environ["REDIS_URL"]) as redis:
        app = await (subscriber() if what == "subscriber" else broker(redis, os.environ["TARGET"]))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
