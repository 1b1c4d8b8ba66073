"""Settings are read once, from a mapping passed in, into a frozen dataclass; a missing or bad one is named.

A field is declared with `setting(ENV_NAME, doc, …)`. A value may also come from a file named by `ENV_NAME_FILE`, as
Kubernetes mounts Secrets.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

T = TypeVar("T")
_REQUIRED = object()


class SettingsError(Exception):
    """One or more settings are missing or bad; the message names each and what it should be."""


def setting(
    env: str, doc: str, default: Any = _REQUIRED, *, parse: Callable[[str], Any] = str, secret: bool = False
) -> Any:
    """Declare a dataclass field read from the environment variable `env`.

    `doc` says what it is, its unit and its allowed values. `parse` turns the text into the value and raises
    ValueError with what was expected. A `secret` is kept out of the dataclass's repr.
    """
    meta = {"env": env, "doc": doc, "parse": parse, "secret": secret}
    if default is _REQUIRED:
        return dataclasses.field(metadata=meta, repr=not secret, kw_only=True)
    return dataclasses.field(default=default, metadata=meta, repr=not secret, kw_only=True)


def read(cls: type[T], env: Mapping[str, str]) -> T:
    """An instance of the settings dataclass `cls` from `env`.

    Raises SettingsError naming every missing or bad setting at once, never a secret's value.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if "env" not in field.metadata:
            continue
        name, doc = field.metadata["env"], field.metadata["doc"]
        try:
            text = _text(name, env)
            if text is None:
                if field.default is dataclasses.MISSING:
                    faults.append(f"{name} is not set: {doc}")
                continue
            values[field.name] = field.metadata["parse"](text)
        except (ValueError, OSError) as error:
            shown = "" if field.metadata["secret"] else f" = {env.get(name, '')!r}"
            faults.append(f"{name}{shown} is bad ({error}): {doc}")
    if faults:
        raise SettingsError("; ".join(faults))
    return cls(**values)


def _text(name: str, env: Mapping[str, str]) -> str | None:
    if value := env.get(name, "").strip():
        return value
    if path := env.get(f"{name}_FILE", "").strip():
        return Path(path).read_text(encoding="utf-8").strip()
    return None


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("expected a whole number of at least 1")
    return int(text)


def tcp_port(text: str) -> int:
    """A TCP port that can be named in an address."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise ValueError("expected a whole number from 1 to 65535")
    return int(text)


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isascii() or not text.isdigit():
        raise ValueError("expected a whole number of at least 0")
    return int(text)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError("expected a positive number of seconds")
    return value


def flag(text: str) -> bool:
    """true or false."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("expected true or false")
    return words[text.lower()]


def http_url(text: str) -> str:
    """An absolute http(s) URL, given back without its trailing slash."""
    if not text.startswith(("http://", "https://")) or not text.split("://", 1)[1].strip("/"):
        raise ValueError("expected an absolute http:// or https:// URL")
    return text.rstrip("/")


def addresses(text: str) -> dict[str, str]:
    """A JSON object of absolute http(s) URLs by the name of the Knative Service."""
    try:
        named: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        named = None
    if not isinstance(named, dict) or not all(isinstance(url, str) for url in named.values()):
        raise ValueError('expected a JSON object such as {"search": "http://127.0.0.1:9001"}')
    return {name: http_url(url) for name, url in named.items()}


def redis_url(text: str) -> str:
    """A redis://, rediss:// or unix:// URL."""
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected a redis://, rediss:// or unix:// URL")
    return text


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of the given words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return parse


def ollama_base(text: str) -> str:
    """Ollama's address without the trailing `/api`, which users may or may not write."""
    return http_url(text).removesuffix("/api")


@dataclasses.dataclass(frozen=True)
class DurableRedis:
    """The Redis that holds what may not be lost: records, streams, flights, dead letters, the broker's queue."""

    url: str = setting("REDIS_URL", "redis:// URL of the durable server (appendonly, noeviction)", parse=redis_url)
    replicas: int = setting(
        "KNTS_REDIS_REPLICAS",
        "replicas of it that must have what is acknowledged; with too few, nothing is accepted",
        0,
        parse=natural,
    )


@dataclasses.dataclass(frozen=True)
class CacheRedis:
    """The Redis that may evict: answers and their indexes."""

    url: str = setting("REDIS_CACHE_URL", "redis:// URL of the cache server (maxmemory, LRU)", parse=redis_url)


@dataclasses.dataclass(frozen=True)
class TypesenseServer:
    """Where the chunks are searched."""

    url: str = setting("TYPESENSE_URL", "http(s) URL of Typesense", parse=http_url)
    api_key: str = setting("TYPESENSE_API_KEY", "its API key", secret=True)
    collection: str = setting("KNTS_COLLECTION", "name of the alias that searches go to", "knts_chunks")
    timeout: float = setting("TYPESENSE_TIMEOUT", "seconds that one call may take", 10.0, parse=seconds)


@dataclasses.dataclass(frozen=True)
class OllamaServer:
    """Where answers are generated."""

    url: str = setting(
        "OLLAMA_URL",
        "http(s) URL of Ollama, with or without a trailing /api",
        "http://ollama-gpu.ollama.svc.cluster.local:11434",
        parse=ollama_base,
    )
    model: str = setting("OLLAMA_MODEL", "model that answers where the request names none")


@dataclasses.dataclass(frozen=True)
class Sink:
    """Where events are published: a Knative SinkBinding injects `K_SINK`."""

    url: str = setting("K_SINK", "http(s) URL of the Broker's ingress for this namespace", parse=http_url)
    token: Path | None = setting(
        "KNTS_SINK_TOKEN_FILE", "file with the token that a Broker with event policies asks for", None, parse=Path
    )
