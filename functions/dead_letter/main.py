"""Wiring of the dead-letter function."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.dead_letter import handler
from functions.dead_letter.operators import Desk
from knts import events
from knts.clients.channel import Channel
from knts.clients.dead_letters import DeadLetters
from knts.clients.flights import Flights
from knts.clients.records import Records
from knts.clients.redis import connected, ping
from knts.errors import KntsError, Permanent
from knts.events import Event
from knts.runtime import EventFunction, RuntimeSettings, Wiring, in_producer_tenant
from knts.settings import DurableRedis, positive_int, read, setting, words


@dataclass(frozen=True)
class DeadLetterSettings:
    """How many dead letters there is room for, beyond which deliveries are refused with 503, and who may see them."""

    most: int = setting("KNTS_DEAD_LETTERS", "dead letters kept at most", 100_000, parse=positive_int)
    operator_keys: tuple[str, ...] = setting(
        "KNTS_OPERATOR_KEY",
        "key, or several, comma-separated, of those who may list, read and drop dead letters; nobody may without one",
        (),
        parse=words,
        secret=True,
    )
    most_mib: int = setting("KNTS_DEAD_LETTERS_MIB", "MiB that they may have in all", 256, parse=positive_int)


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open Redis; everything that is delivered goes to the one handler."""
    settings, runtime = read(DeadLetterSettings, env), read(RuntimeSettings, env)
    async with connected(read(DurableRedis, env).url) as redis:
        letters = DeadLetters(redis, most=settings.most, most_bytes=settings.most_mib * 1024 * 1024)
        bury = partial(
            handler.bury,
            letters=letters,
            asks=Channel(redis),
            flights=Flights(redis),
            records=Records(redis),
            genuine=partial(signed_by_us, runtime.signing_keys),
            tenant_of=partial(tenant_of, runtime),
        )
        yield Wiring({}, partial(ping, redis), anything=bury, pages=Desk(letters, settings.operator_keys))


def signed_by_us(keys: Sequence[str], event: Event) -> bool:
    """Whether one of our functions made the event."""
    try:
        events.check_signature(event, keys)
    except KntsError:
        return False
    return "signature" in event.attributes


def tenant_of(runtime: RuntimeSettings, event: Event) -> str | None:
    """The tenant whose documents the event may change: a signed one's own, or one that producers may name."""
    if "signature" in event.attributes:
        return event.tenant if signed_by_us(runtime.signing_keys, event) else None
    try:
        return in_producer_tenant(event, runtime.producer_tenants).tenant
    except Permanent:
        return None


function = EventFunction("dead-letter", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """Answer one delivery."""
    return await function(request)
