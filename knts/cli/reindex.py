"""`knts reindex`: gives every passage an embedding by the model that is set now, while searches go on."""

import asyncio
import os

import click

from knts.cli.errors import FAILED, OK, CommandError
from knts.cli.home import said, secret
from knts.clients.redis import connected
from knts.clients.reindexing import reindex
from knts.clients.typesense import Typesense
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.errors import KntsError
from knts.settings import DurableRedis, SettingsError, TypesenseServer, read


async def run(model: str | None, seconds: float | None) -> int:
    """Put everything on the list, wait until index-document has embedded it, and change searches over.

    Raises CommandError for what is not set or not available, or takes longer than `seconds`.
    """
    env = {**said().get("env", {}), **_known_secrets(), **os.environ}
    model = model or env.get("OLLAMA_EMBED_MODEL", "")
    if not model:
        raise CommandError("no model embeds here: OLLAMA_EMBED_MODEL is not set", FAILED)
    try:
        server, durable = read(TypesenseServer, env), read(DurableRedis, env)
        async with asyncio.timeout(seconds), connected(durable.url) as redis, Typesense(server) as typesense:
            made = await reindex(Vectors(typesense), Unembedded(redis, server.collection), model, click.echo)
    except (KntsError, SettingsError) as error:
        raise CommandError(str(error), FAILED) from error
    except TimeoutError as error:
        raise CommandError(f"not done within {seconds:g} s; searches go on as before", FAILED) from error
    if made is None:
        raise CommandError(f"nothing was embedded by {model}: is it OLLAMA_EMBED_MODEL of index-document?", FAILED)
    click.echo(f"searches use {made.name} ({made.dimension} dimensions)")
    return OK


def _known_secrets() -> dict[str, str]:
    key = secret("typesense-key")
    return {"TYPESENSE_API_KEY": key} if key else {}
