"""The local run from check to orderly stop; `make run` and `knts up` call `run`."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from knts.local import checks, first_documents, outside
from knts.local.home import Home
from knts.local.model import NAME
from knts.local.plan import Ollama, Plan, has_broker, plan
from knts.local.process import LocalError
from knts.local.settings import ROOT, LocalSettings
from knts.local.supervisor import Say, Supervisor
from knts.settings import SettingsError, read

FIRST_DOCUMENTS = "first-documents"
Calm = Callable[[Callable[[], None]], None]


class Stop(BaseException):
    """SIGINT, SIGTERM or SIGHUP has come."""


def tell(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def run(env: Mapping[str, str], say: Say = tell, on_ready: Callable[[Plan], None] = lambda _: None) -> int:
    """Start everything, keep it running until a signal, stop it; the exit status.

    0 after a signal, 1 when something can't be started, 2 for a bad setting; the reason is said.
    """
    began = time.monotonic()
    try:
        with signals() as calm:
            settings = read(LocalSettings, env)
            home = Home(Path(settings.home))
            with home.locked():  # first: kn-ts that runs here already is told as that, and not as taken ports
                if found := checks.faults(settings):
                    raise LocalError("\n".join(found))
                _hold(settings, home, env, say, calm, lambda made: _ready(made, settings, home, say, on_ready, began))
        return 0
    except SettingsError as error:
        return _failed(2, error)
    except LocalError as error:
        return _failed(1, error)
    except Stop:
        return 0


def _failed(status: int, error: Exception) -> int:
    print(f"\nkn-ts: {error}", file=sys.stderr, flush=True)
    return status


def _hold(
    settings: LocalSettings,
    home: Home,
    env: Mapping[str, str],
    say: Say,
    calm: Calm,
    ready: Callable[[Plan], None],
) -> None:
    """Start by plan and watch until a signal; everything is stopped on the way out, whatever the way."""
    say(f"kn-ts is starting; its state and logs are in {home.folder}")
    made = plan(settings, home, choose_ollama(settings, say), env, say)
    check_outside(settings, say)
    home.note_run(made.said())
    supervisor = Supervisor(made.stages, say)
    try:
        supervisor.start()
        ready(made)
        supervisor.watch()
    finally:
        calm(supervisor.kill)
        say("\nstopping")
        supervisor.stop()
        say("stopped; the next start finds its data again")


def _ready(
    made: Plan, settings: LocalSettings, home: Home, say: Say, on_ready: Callable[[Plan], None], began: float
) -> None:
    say(welcome(made, time.monotonic() - began))
    if "ingress" in made.functions and (has_broker() or settings.sink) and not home.done(FIRST_DOCUMENTS):
        say("  loading kn-ts' own documentation as first documents")
        threading.Thread(target=_load, args=(made, settings, home, say), daemon=True).start()
    on_ready(made)


def _load(made: Plan, settings: LocalSettings, home: Home, say: Say) -> None:
    """Runs beside the watch, so that a function that ends meanwhile is started again."""
    key = made.env.get("KNTS_API_KEY", "")
    if first_documents.load_first(made.page, key, ROOT, settings.documents.split(","), say):
        home.note_done(FIRST_DOCUMENTS)


def choose_ollama(settings: LocalSettings, say: Say) -> Ollama:
    """The user's Ollama, the one on Ollama's own port, or the packaged model."""
    here = f"http://127.0.0.1:{outside.OLLAMA_PORT}"
    url = settings.ollama_url or (here if outside.ollama_answers(here) else None)
    if url is None:
        if settings.ollama_model not in (None, NAME):
            say(f"  warning: no Ollama answers at {here}: {NAME} is used, not OLLAMA_MODEL {settings.ollama_model}")
        return Ollama()
    model = outside.ollama_model(url, settings.ollama_model)
    if model is not None:
        say(f"  answers come from {model} at {url}")
        return Ollama(url, model)
    if settings.ollama_url:
        raise LocalError(f"the Ollama at {url} has no model that writes text; run `ollama pull smollm2:135m`, say")
    say(f"  the Ollama at {url} has no model yet: the small packaged one is used")
    return Ollama()


def check_outside(settings: LocalSettings, say: Say) -> None:
    """Look at each server that the user has given. Raises LocalError for one that does not answer."""
    for name, url, durable in (
        ("REDIS_URL", settings.redis_url, True),
        ("REDIS_CACHE_URL", settings.redis_cache_url, False),
    ):
        for warning in outside.check_redis(url, name, durable=durable) if url else ():
            say(f"  warning: {warning}")
    if settings.typesense_url:
        outside.check_typesense(settings.typesense_url, settings.typesense_key or "")


@contextlib.contextmanager
def signals() -> Iterator[Calm]:
    """SIGINT, SIGTERM and SIGHUP raise Stop; after the yielded function was called they call what it was given."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stop

    def calm(hurry: Callable[[], None]) -> None:
        for name in names:
            signal.signal(name, lambda _number, _frame: hurry())

    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield calm
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def welcome(made: Plan, seconds: float) -> str:
    """What is said when everything is up."""
    return f"""
kn-ts is up after {seconds:.1f} s; the page:  {made.page}

  events go to          {made.broker}
  answers come from     {made.model}
  load your documents   bin/knts load PATH…
  ask                   bin/knts ask "Which version of a document wins?"
  watch the events      bin/knts events

Ctrl-C stops everything.
"""
