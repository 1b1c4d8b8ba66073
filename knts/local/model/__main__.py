"""`python -m knts.local.model`: the packaged model behind Ollama's API, until SIGTERM."""

import os
import sys
from dataclasses import dataclass

import uvicorn

from knts.local.model.api import Api
from knts.local.model.engine import Engine
from knts.local.process import LocalError
from knts.settings import SettingsError, positive_int, read, setting, tcp_port


@dataclass(frozen=True)
class ModelSettings:
    """How the packaged model is run."""

    port: int = setting("PORT", "TCP port to listen on", 11434, parse=tcp_port)
    host: str = setting("KNTS_HOST", "address to listen on", "127.0.0.1")
    context: int = setting("KNTS_MODEL_CONTEXT", "tokens, prompt and answer together", 8192, parse=positive_int)
    threads: int = setting(
        "KNTS_MODEL_THREADS", "CPU threads; one is faster than two on a busy two-core machine", 1, parse=positive_int
    )


def main() -> None:
    """Load and serve; a bad setting or a missing package ends the process with a sentence and status 2."""
    try:
        settings = read(ModelSettings, os.environ)
        engine = Engine(context=settings.context, threads=settings.threads)
    except (SettingsError, LocalError, ImportError) as error:
        print(f"knts model: {error}", file=sys.stderr)
        sys.exit(2)
    uvicorn.run(
        Api(engine).app(), host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=2
    )


if __name__ == "__main__":
    main()
