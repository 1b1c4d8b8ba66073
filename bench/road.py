"""`python -m bench.road`: documents in, a search, the first token and a cached answer over the whole local run.

Each beside its floor in the same run: a bare call to the part below it. Everything is real: Typesense, Valkey, the
packaged model, the development broker, each function in a process of its own.
"""

import asyncio
import random
import statistics
import time
from typing import Any

import aiohttp
import orjson

from bench.local import Road, road
from bench.measure import Sample, closed_loop, machine, table
from functions.llm_answer import prompt

SEED = 20260131
DOCUMENTS = 1000
WORDS = """
river stone harbour winter ledger signal copper meadow anchor lantern bridge orchard summit canyon velvet
engine station captain market garden window thunder silver forest island letter season mirror travel hollow
""".split()  # noqa: SIM905 - it reads as words
BUDGET = prompt.Budget(context=8192, passages=260, answer=80)  # what the packaged model is given: knts/local/plan.py
Row = tuple[object, ...]


def documents(count: int) -> list[dict[str, Any]]:
    """Made-up documents of about 2 KiB, the same in every run; each names a fact of its own to ask for."""
    chance = random.Random(SEED)
    made = []
    for number in range(count):
        paragraphs = [" ".join(chance.choices(WORDS, k=60)).capitalize() + "." for _ in range(4)]
        fact = f"The {WORDS[number % 30]} {WORDS[number // 30 % 30]} of house {number} was built by Keeper {number}."
        made.append({"id": f"bench/{number}", "title": f"House {number}", "text": "\n\n".join([fact, *paragraphs])})
    return made


async def main() -> None:
    """Print the table."""
    with road() as here:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as http:
            rows = [
                *await indexing(here, http),
                *await searching(here, http),
                *await first_token(here, http),
                *await cached(here, http),
            ]
    print(f"{machine()}; seed {SEED}; {DOCUMENTS} documents of about 2 KiB\n")
    print(table(("what", "kn-ts", "floor", "unit", "ratio", "the floor is"), rows))


# -- documents --------------------------------------------------------------------------------------------------------


async def indexing(here: Road, http: aiohttp.ClientSession) -> list[Row]:
    """Documents indexed a second: NDJSON to ingress until all are searchable, against bare imports."""
    lines = [orjson.dumps(document) for document in documents(DOCUMENTS)]
    begun = time.perf_counter()
    headers = {"content-type": "application/x-ndjson"}
    async with http.post(f"{here.api}/v1/documents", data=b"\n".join(lines), headers=headers) as response:
        accepted = (await response.json())["accepted"]
        assert accepted == DOCUMENTS, f"{accepted} accepted"
    while await indexed(here, http) < DOCUMENTS:  # noqa: ASYNC110 - another process indexes
        await asyncio.sleep(0.05)
    ours = DOCUMENTS / (time.perf_counter() - begun)
    chunks = await export(here, http)
    floor = await bare_imports(here, http, chunks)
    return [("documents indexed", ours, floor, "a second", ours / floor, f"import of the {len(chunks)} chunks")]


async def indexed(here: Road, http: aiohttp.ClientSession) -> int:
    """How many of the documents are searchable now."""
    query = {"q": "*", "query_by": "words", "filter_by": "chunk:=0", "per_page": "1"}
    found = await typesense(here, http, "GET", "/collections/knts_chunks/documents/search", params=query, missing=True)
    return int(found.get("found", 0))


async def typesense(
    here: Road, http: aiohttp.ClientSession, method: str, path: str, *, missing: bool = False, **named: Any
) -> dict[str, Any]:
    """A bare call."""
    async with http.request(method, here.address("TYPESENSE_URL") + path, headers=key(here), **named) as response:
        assert response.status < 300 or (missing and response.status == 404), await response.text()
        found: dict[str, Any] = orjson.loads(await response.read())
        return found


def key(here: Road) -> dict[str, str]:
    """Typesense's key."""
    return {"X-TYPESENSE-API-KEY": here.secret("typesense-key")}


async def export(here: Road, http: aiohttp.ClientSession) -> list[bytes]:
    """Every chunk as it is stored, a JSON line each."""
    url = f"{here.address('TYPESENSE_URL')}/collections/knts_chunks/documents/export"
    async with http.get(url, headers=key(here)) as response:
        return (await response.read()).splitlines()


async def bare_imports(here: Road, http: aiohttp.ClientSession, chunks: list[bytes]) -> float:
    """Documents a second when the same chunks are imported into a collection like it, 100 a request, nothing else."""
    schema = await typesense(here, http, "GET", "/collections/knts_chunks")
    await typesense(here, http, "POST", "/collections", json=schema | {"name": "bare"})
    url = f"{here.address('TYPESENSE_URL')}/collections/bare/documents/import?action=upsert"
    begun = time.perf_counter()
    for at in range(0, len(chunks), 100):
        async with http.post(url, data=b"\n".join(chunks[at : at + 100]), headers=key(here)) as response:
            await response.read()
    rate = DOCUMENTS / (time.perf_counter() - begun)
    await typesense(here, http, "DELETE", "/collections/bare")
    return rate


# -- search -----------------------------------------------------------------------------------------------------------


async def searching(here: Road, http: aiohttp.ClientSession) -> list[Row]:
    """A search through ingress, Broker and search, against one bare search in Typesense."""

    async def ours(number: int) -> None:
        query = f"{WORDS[number % 30]} {WORDS[number * 7 % 30]}"
        async with http.get(f"{here.api}/v1/search", params={"q": query}) as response:
            assert response.status == 200, await response.text()
            await response.read()

    async def bare(number: int) -> None:
        query = f"{WORDS[number % 30]} {WORDS[number * 7 % 30]}"
        params = {"q": query, "query_by": "title_words,words", "per_page": "10"}
        await typesense(here, http, "GET", "/collections/knts_chunks/documents/search", params=params)

    return await beside("search", ours, bare, "a bare Typesense search", calls=300)


async def beside(what: str, ours: Any, bare: Any, floor: str, *, calls: int) -> list[Row]:
    """Both loops, after a warm-up, one at a time and 16 at a time."""
    for call in (ours, bare):
        await closed_loop(call, calls=20)
    rows: list[Row] = []
    a, b = await closed_loop(ours, calls=calls), await closed_loop(bare, calls=calls)
    rows.append((f"{what}, p50", a.percentile(0.5), b.percentile(0.5), "ms", ratio(a, b, 0.5), floor))
    rows.append((f"{what}, p99", a.percentile(0.99), b.percentile(0.99), "ms", ratio(a, b, 0.99), floor))
    a, b = await closed_loop(ours, calls=4 * calls, at_once=16), await closed_loop(bare, calls=4 * calls, at_once=16)
    rows.append((f"{what}, 16 at a time", a.rate, b.rate, "a second", a.rate / b.rate, floor))
    return rows


def ratio(ours: Sample, floor: Sample, share: float) -> float:
    """How many times the floor's latency ours is."""
    return ours.percentile(share) / floor.percentile(share)


# -- answers ----------------------------------------------------------------------------------------------------------


async def first_token(here: Road, http: aiohttp.ClientSession, rounds: int = 12) -> list[Row]:
    """Time to the first word of an answer, against Ollama's own for the same prompt; in turns, none cached.

    The floor asks another question over the same passages in reverse, so that the model can't reuse what it has just
    read for ours.
    """
    ours, floor = [], []
    for number in range(rounds):
        question = f"Who built house {number}?"
        seconds, passages = await first_delta(here, http, question)
        ours.append(seconds)
        other = f"Who built house {number + 500}?"
        floor.append(await bare_first_token(here, http, prompt.compose(other, passages[::-1], {}, 8192, BUDGET)))
    a, b = 1000 * statistics.median(ours), 1000 * statistics.median(floor)
    return [("first token, p50", a, b, "ms", a / b, "as long a prompt at Ollama's API")]


async def first_delta(here: Road, http: aiohttp.ClientSession, question: str) -> tuple[float, list[dict[str, Any]]]:
    """Seconds to the first delta, and the passages that were shown; the stream is read to its end."""
    begun, seconds, passages = time.perf_counter(), 0.0, []
    body = {"question": question, "cache": "off"}
    async with http.post(f"{here.api}/v1/answers", json=body, headers={"accept": "text/event-stream"}) as response:
        assert response.status == 200, await response.text()
        event = ""
        async for line in response.content:
            if line.startswith(b"event: "):
                event = line[7:].decode().strip()
                if event == "delta" and not seconds:
                    seconds = time.perf_counter() - begun
            elif line.startswith(b"data: ") and event == "passages":
                passages = orjson.loads(line[6:])["passages"]
    assert seconds, f"no delta, the last event was {event}"
    return seconds, passages


async def bare_first_token(here: Road, http: aiohttp.ClientSession, asked: prompt.Prompt) -> float:
    """Seconds to the first token when Ollama is asked directly."""
    begun = time.perf_counter()
    options = {**asked.options, "num_predict": 8}
    body = {"model": here.model, "messages": asked.messages, "stream": True, "options": options}
    async with http.post(f"{here.address('OLLAMA_URL')}/api/chat", json=body) as response:
        await response.content.readline()
        seconds = time.perf_counter() - begun
        await response.read()
    return seconds


async def cached(here: Road, http: aiohttp.ClientSession) -> list[Row]:
    """A repeated question at ingress, against the cheapest thing the same process can answer."""
    body = {"question": "Who built house 7?"}

    async def ours(_: int) -> None:
        async with http.post(f"{here.api}/v1/answers", json=body, headers={"accept": "application/json"}) as response:
            assert (await response.json())["cache"] in ("hit", "miss", "shared")

    async def bare(_: int) -> None:
        async with http.get(f"{here.api}/healthz") as response:
            await response.read()

    await ours(0)
    await asyncio.sleep(1)  # cache-writer stores it
    async with http.post(f"{here.api}/v1/answers", json=body, headers={"accept": "application/json"}) as response:
        assert (await response.json())["cache"] == "hit", "the repeated question was no hit"
    return await beside("cached answer", ours, bare, "GET /healthz of ingress", calls=300)


if __name__ == "__main__":
    asyncio.run(main())
