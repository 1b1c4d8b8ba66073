"""Servers of the user's own: are they there, and are they fit?"""

import asyncio
import json
import urllib.request

from knts.clients.ollama import writes
from knts.clients.redis import check_durable, connected, ping
from knts.errors import KntsError
from knts.local.process import LocalError, http_status

OLLAMA_PORT = 11434


def check_redis(url: str, name: str, *, durable: bool) -> list[str]:
    """Warnings about a Redis of the user's. Raises LocalError when it does not answer."""

    async def look() -> list[str]:
        async with connected(url, timeout=3) as client:
            await ping(client)
            return await check_durable(client) if durable else []

    try:
        return [f"{name}: {fault}" for fault in asyncio.run(look())]
    except KntsError as error:
        raise LocalError(f"{name} is set, but no Redis answers there: {error.detail}") from error


def check_typesense(url: str, key: str) -> None:
    """Raises LocalError when it does not answer or refuses the key."""
    status, _ = http_status(f"{url}/health", timeout=5)
    if status != 200:
        raise LocalError(f"TYPESENSE_URL is {url}, but no healthy Typesense answers there ({_told(status)})")
    status, _ = http_status(f"{url}/collections", headers={"X-TYPESENSE-API-KEY": key}, timeout=5)
    if status != 200:
        raise LocalError(f"the Typesense at {url} refuses TYPESENSE_API_KEY ({_told(status)})")


def ollama_answers(url: str) -> bool:
    """Whether an Ollama answers there."""
    return http_status(f"{url}/api/version")[0] == 200


def ollama_model(url: str, wanted: str | None) -> str | None:
    """The model to ask at this Ollama: the wanted one, or its first that writes text; None when it has none.

    Raises LocalError when it does not answer or lacks the wanted one.
    """
    status, body = http_status(f"{url}/api/tags", timeout=5)
    if status != 200:
        raise LocalError(f"OLLAMA_URL is {url}, but no Ollama answers there ({_told(status)})")
    names = [str(model["name"]) for model in json.loads(body).get("models") or []]
    if wanted is None:
        return next((name for name in names if _writes(url, name)), None)
    if wanted in names or f"{wanted}:latest" in names:
        return wanted
    has = ", ".join(names) or "none"
    raise LocalError(f"the Ollama at {url} lacks OLLAMA_MODEL {wanted} (it has {has}); run `ollama pull {wanted}`")


def _writes(url: str, name: str) -> bool:
    """Whether the model completes text."""
    data = json.dumps({"model": name}).encode()
    request = urllib.request.Request(f"{url}/api/show", data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - the user's own Ollama
        return writes(json.load(response))


def _told(status: int) -> str:
    return f"status {status}" if status else "no answer"
