"""What a local run starts: embedded servers where the user has none of his own, the broker, each function.

Pure but for the secrets and ports that it takes from the home.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knts.local.home import Home
from knts.local.model import NAME
from knts.local.model.minilm import NAME as EMBEDDER
from knts.local.servers import PackagedEmbedder, PackagedModel, Typesense, cache_valkey, durable_valkey
from knts.local.settings import ROOT, LocalSettings
from knts.local.supervisor import Program, Startable

BROKER_PATH = "/default/kn-ts"
LOOPBACK = "127.0.0.1"
OPERATOR_KEY = "KNTS_OPERATOR_KEY"
SERVERS = ("redis", "redis-cache", "typesense", "typesense-peering", "model", "embedder")


@dataclass(frozen=True)
class Ollama:
    """Where answers come from: an address of the user's, or None for the packaged model."""

    url: str | None = None
    model: str = NAME


@dataclass
class Plan:
    """Stages to start, and the addresses that result (`broker` with its path); `env` is what every program gets."""

    stages: list[list[Startable]]
    env: dict[str, str]
    functions: dict[str, str]
    ports: dict[str, int]
    page: str
    broker: str
    model: str
    embedded: list[str] = field(default_factory=list)

    def said(self) -> dict[str, Any]:
        """What `run.json` tells the command line; no secrets."""
        names = (
            "REDIS_URL",
            "REDIS_CACHE_URL",
            "TYPESENSE_URL",
            "OLLAMA_URL",
            "OLLAMA_EMBED_URL",
            "OLLAMA_EMBED_MODEL",
            "KNTS_TRACE_DIR",
        )
        return {
            "pid": os.getpid(),
            "page": self.page,
            "broker": self.broker,
            "model": self.model,
            "functions": self.functions,
            "env": {name: self.env[name] for name in names if name in self.env},
            "ports": self.ports,
        }


def function_names(root: Path = ROOT) -> list[str]:
    """The functions there are, by their hyphened names; ingress last, when all behind it are started."""
    names = [path.parent.name.replace("_", "-") for path in root.glob("functions/*/main.py")]
    return sorted(names, key=lambda name: (name == "ingress", name))


def has_broker() -> bool:
    """Whether the development broker is there to start."""
    return importlib.util.find_spec("knts.devbroker.__main__") is not None


def plan(
    settings: LocalSettings, home: Home, ollama: Ollama, env: Mapping[str, str], say: Callable[[str], None]
) -> Plan:
    """The plan of this run."""
    names = function_names()
    ports = home.ports([*SERVERS, *(name for name in names if name != "ingress")]) | {"broker": settings.broker_port}
    if "ingress" in names:
        ports["ingress"] = settings.port
    servers = embedded(settings, home, ollama, ports, env, say)
    hosts = {name: LOOPBACK if name == "ingress" else settings.functions_host for name in names}
    functions = {name: f"http://{hosts[name]}:{ports[name]}" for name in names}
    own_broker = f"http://{LOOPBACK}:{settings.broker_port}"
    sink = settings.sink or own_broker + BROKER_PATH
    shared = shared_env(settings, home, ollama, servers, env) | {"K_SINK": sink}
    operator = env.get(OPERATOR_KEY) or home.secret("operator-key")  # where the command line finds it
    own = {"dead-letter": {OPERATOR_KEY: operator}}
    programs: list[Startable] = [
        Program(
            name,
            "knts.serve",
            function_env(shared, name, hosts[name], ports[name]) | own.get(name, {}),
            home.log(name),
            url,
        )
        for name, url in functions.items()
    ]
    reached = {**functions, **(settings.subscribers or {})}  # one may run in a debugger, or behind a balancer
    brokers: list[Startable] = [
        Program(
            "broker",
            "knts.devbroker",
            broker_env(shared, settings.broker_port, reached),
            home.log("broker"),
            own_broker,
        )
    ]
    stages: list[list[Startable]] = [
        [server for name, server in servers.items() if name.startswith("redis")],
        [server for name, server in servers.items() if not name.startswith("redis")],
        brokers if has_broker() and settings.sink is None else [],
        programs,
    ]
    page = f"http://{LOOPBACK}:{settings.port}"
    return Plan(stages, shared, functions, ports, page, sink, ollama.model, list(servers))


SMALL_MODEL = {  # one answer at a time; it reads slowly, and the longer it writes the less is true
    "KNTS_MODEL_SLOTS": "1",
    "KNTS_PROMPT_TOKENS": "260",
    "KNTS_ANSWER_TOKENS": "80",
}


def embedded(
    settings: LocalSettings,
    home: Home,
    ollama: Ollama,
    ports: Mapping[str, int],
    env: Mapping[str, str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The servers that the user has not given, by name."""
    servers: dict[str, Any] = {}
    if settings.redis_url is None:
        servers["redis"] = durable_valkey(home.data("redis"), home.log("redis"), ports["redis"])
    if settings.redis_cache_url is None:
        log = home.log("redis-cache")
        servers["redis-cache"] = cache_valkey(home.data("redis-cache"), log, ports["redis-cache"])
    if settings.typesense_url is None:
        servers["typesense"] = Typesense(
            home.data("typesense"),
            home.log("typesense"),
            home.secret("typesense-key"),
            ports["typesense"],
            ports["typesense-peering"],
            say=say,
        )
    if ollama.url is None:
        own_env = python_env(env)
        servers["model"] = PackagedModel(home.folder / "lib", home.log("model"), ports["model"], env=own_env)
    if embeddings(settings) == "packaged":
        servers["embedder"] = PackagedEmbedder(home.log("embedder"), ports["embedder"], env=python_env(env))
    return servers


def embeddings(settings: LocalSettings) -> str:
    """Where embeddings come from; a model of the user's Ollama is meant where one is named."""
    return settings.embeddings or ("ollama" if settings.embed_model else "packaged")


def embed_env(settings: LocalSettings, servers: Mapping[str, Any], ollama_url: str) -> dict[str, str]:
    """What the functions are told of embeddings."""
    match embeddings(settings):
        case "packaged":
            return {"OLLAMA_EMBED_URL": servers["embedder"].url, "OLLAMA_EMBED_MODEL": EMBEDDER}
        case "ollama":
            return {
                "OLLAMA_EMBED_URL": settings.embed_url or ollama_url,
                "OLLAMA_EMBED_MODEL": settings.embed_model or "",
            }
        case _:
            return {"OLLAMA_EMBED_MODEL": ""}


def python_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with this checkout importable and Python's output unbuffered."""
    path = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def shared_env(
    settings: LocalSettings, home: Home, ollama: Ollama, servers: Mapping[str, Any], env: Mapping[str, str]
) -> dict[str, str]:
    """What broker and functions alike are told; whatever OTEL_… or KNTS_… the user has set stays."""

    def address(name: str, given: str | None) -> str:
        return given if given is not None else str(servers[name].url)

    return {
        "KNTS_SHUTDOWN_GRACE": "5",
        **(SMALL_MODEL if ollama.url is None else {}),
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
        **{name: value for name, value in python_env(env).items() if name != OPERATOR_KEY},
        "KNTS_HOST": LOOPBACK,
        "KNTS_SIGNING_KEY": settings.signing_key or home.secret("signing-key"),
        "KNTS_TRACE_DIR": str(home.folder / "traces"),
        "REDIS_URL": address("redis", settings.redis_url),
        "REDIS_CACHE_URL": address("redis-cache", settings.redis_cache_url),
        "TYPESENSE_URL": address("typesense", settings.typesense_url),
        "TYPESENSE_API_KEY": settings.typesense_key or home.secret("typesense-key"),
        "OLLAMA_URL": address("model", ollama.url),
        "OLLAMA_MODEL": ollama.model,
        **embed_env(settings, servers, address("model", ollama.url)),
    }


def function_env(shared: Mapping[str, str], name: str, host: str, port: int) -> dict[str, str]:
    """What one function is told."""
    return {**shared, "FUNCTION_TARGET": name, "KNTS_HOST": host, "PORT": str(port), "K_SERVICE": name}


def broker_env(shared: Mapping[str, str], port: int, functions: Mapping[str, str]) -> dict[str, str]:
    """What the development broker is told: the manifests and where each Knative Service's name is reached."""
    return {
        **shared,
        "KNTS_BROKER_PORT": str(port),
        "KNTS_MANIFESTS": str(ROOT / "eventing" / "base"),
        "KNTS_SUBSCRIBERS": json.dumps(functions),
    }
