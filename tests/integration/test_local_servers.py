"""The embedded servers, started for real."""

from knts.clients.redis import Redis, check_durable
from knts.local.process import http_status
from knts.settings import TypesenseServer


async def test_the_durable_valkey_is_fit_to_hold_what_may_not_be_lost(redis: Redis) -> None:
    assert await check_durable(redis) == []


async def test_the_cache_valkey_evicts_by_use_and_writes_nothing(redis_cache: Redis) -> None:
    config = await redis_cache.config_get("maxmemory*", "appendonly", "save")
    assert (config["maxmemory-policy"], config["appendonly"], config["save"]) == ("allkeys-lru", "no", "")
    assert int(config["maxmemory"]) > 0


async def test_typesense_answers_only_with_its_key(typesense_server: TypesenseServer) -> None:
    assert http_status(f"{typesense_server.url}/collections")[0] == 401
    key = {"X-TYPESENSE-API-KEY": typesense_server.api_key}
    assert http_status(f"{typesense_server.url}/collections", headers=key)[0] == 200
