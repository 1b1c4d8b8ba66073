"""What the user may set for a local run; everything has a default."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from knts.settings import addresses, flag, http_url, ollama_base, one_of, setting, tcp_port
from knts.settings import redis_url as a_redis_url

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class LocalSettings:
    """Read from the environment of `make run`; the addresses point at servers of the user's own."""

    home: str = setting("KNTS_HOME", "folder that holds all state", ".knts")
    port: int = setting("KNTS_PORT", "port of the page and the HTTP API", 8080, parse=tcp_port)
    broker_port: int = setting("KNTS_BROKER_PORT", "port of the development broker", 8081, parse=tcp_port)
    sink: str | None = setting(
        "K_SINK", "http(s) URL of a Broker elsewhere, used instead of the development broker", None, parse=http_url
    )
    functions_host: str = setting(
        "KNTS_FUNCTIONS_HOST", "address that functions other than ingress listen on, for that Broker", "127.0.0.1"
    )
    redis_url: str | None = setting("REDIS_URL", "redis:// URL of your durable Redis", None, parse=a_redis_url)
    redis_cache_url: str | None = setting(
        "REDIS_CACHE_URL", "redis:// URL of your cache Redis", None, parse=a_redis_url
    )
    typesense_url: str | None = setting("TYPESENSE_URL", "http(s) URL of your Typesense", None, parse=http_url)
    typesense_key: str | None = setting("TYPESENSE_API_KEY", "its API key", None, secret=True)
    ollama_url: str | None = setting("OLLAMA_URL", "http(s) URL of your Ollama", None, parse=ollama_base)
    ollama_model: str | None = setting("OLLAMA_MODEL", "model that answers", None)
    embeddings: str | None = setting(
        "KNTS_EMBEDDINGS",
        "where embeddings come from: packaged (a small model), ollama (needs OLLAMA_EMBED_MODEL), or off",
        None,
        parse=one_of("packaged", "ollama", "off"),
    )
    embed_model: str | None = setting("OLLAMA_EMBED_MODEL", "model of your Ollama that embeds", None)
    embed_url: str | None = setting(
        "OLLAMA_EMBED_URL", "http(s) URL of the Ollama that embeds, if not OLLAMA_URL", None, parse=ollama_base
    )
    semantic: bool = setting(
        "KNTS_SEMANTIC", "true or false: whether another wording may get a cached answer", False, parse=flag
    )
    signing_key: str | None = setting("KNTS_SIGNING_KEY", "key that signs internal events", None, secret=True)
    subscribers: Mapping[str, str] | None = setting(
        "KNTS_SUBSCRIBERS", "JSON object: the URL where the broker reaches a function, by name", None, parse=addresses
    )
    documents: str = setting(
        "KNTS_FIRST_DOCUMENTS", "files and folders, comma-separated, loaded at the first start", "docs"
    )
