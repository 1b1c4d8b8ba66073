"""`python -m knts.serve`: run the one function that `FUNCTION_TARGET` names, on `PORT`, until SIGTERM.

functions-framework builds the app around the target; uvicorn with uvloop and httptools serves it.
"""

import contextlib
import os
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from functions_framework.aio import create_asgi_app
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from knts import telemetry
from knts.patience import HEAD_SECONDS, patient
from knts.runtime import Function
from knts.settings import SettingsError, read, seconds, setting, tcp_port

FUNCTIONS = Path(__file__).resolve().parent.parent / "functions"


def target(text: str) -> str:
    """The name of one of the functions."""
    known = sorted(path.parent.name.replace("_", "-") for path in FUNCTIONS.glob("*/main.py"))
    if not re.fullmatch("[a-z-]+", text) or text not in known:
        raise ValueError(f"expected one of {', '.join(known)}")
    return text


@dataclass(frozen=True)
class ServeSettings:
    """How a function is served."""

    target: str = setting("FUNCTION_TARGET", "the function to run, such as search", parse=target)
    port: int = setting("PORT", "TCP port to listen on", 8080, parse=tcp_port)
    host: str = setting("KNTS_HOST", "address to listen on", "0.0.0.0")  # noqa: S104 - a container's only address
    grace: float = setting(
        "KNTS_SHUTDOWN_GRACE", "seconds that requests in flight may take after SIGTERM", 25.0, parse=seconds
    )
    head: float = setting(
        "KNTS_HEAD_TIMEOUT", "seconds that the head of a request may take to arrive", HEAD_SECONDS, parse=seconds
    )


def build(name: str, env: Mapping[str, str]) -> Starlette:
    """The function's app with its start-up and shutdown.

    The entry point of every `functions/<name>/main.py` is a coroutine `main(request)` whose attribute `function` is
    its `EventFunction` or `HttpFunction`.
    """
    source = FUNCTIONS / name.replace("-", "_") / "main.py"
    app: Starlette = create_asgi_app("main", str(source), "http")  # type: ignore[no-untyped-call]
    function: Function = sys.modules["main"].function

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        telemetry.start(name, env)
        try:
            async with function.started(env):
                yield
        finally:
            telemetry.stop()

    app.router.lifespan_context = lifespan
    app.add_middleware(telemetry.ServerSpans, function=name)
    app.add_middleware(OneLinePaths)
    return app


class OneLinePaths:
    """Lets a path hold a newline, as a document's id may: functions-framework's one route matches none otherwise.

    `raw_path`, which the API reads, stays as it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\n" in scope.get("path", ""):
            scope = {**scope, "path": scope["path"].replace("\n", " ")}
        await self.app(scope, receive, send)


def allow_descriptors() -> None:
    """Use all descriptors that the platform grants, since each waiting client is one, and its default may be 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names a hard limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Serve until SIGTERM or SIGINT; a bad setting ends the process with a sentence and status 2."""
    try:
        settings = read(ServeSettings, os.environ)
        app = build(settings.target, os.environ)
    except SettingsError as error:
        sys.exit(f"knts: {error}")
    allow_descriptors()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn shuts down and then raises the signal again
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=patient(settings.head),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace),
    )


if __name__ == "__main__":
    main()
