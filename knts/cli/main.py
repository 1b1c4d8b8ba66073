"""The command `knts` and its subcommands: options in, one call each, exit codes out."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from knts.cli.dead_letters import dead_letters
from knts.cli.errors import CommandError
from knts.cli.running import run_to_exit

F = TypeVar("F", bound=Callable[..., Any])

EPILOG = """
\b
Exit codes:
  0  done              1  failed, or something was refused
  2  wrong usage       3  nothing answers at the address
  4  no answer in the documents (ask)

\b
Environment:
  KNTS_URL         the server's address (http://127.0.0.1:8080)
  KNTS_API_KEY     the key, where the server wants one
  KNTS_BROKER_URL  the Broker's address (http://127.0.0.1:8081/default/kn-ts)
  KNTS_TRACE_DIR   where spans are recorded (.knts/traces)
  KNTS_DEAD_LETTERS_URL, KNTS_OPERATOR_KEY
                   the dead-letter function and an operator's key (those of the local run)
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Answers over your own documents: load them, search them, ask them."""


cli.add_command(dead_letters)


def _server(command: F) -> F:
    """The options of every command that talks to a server."""
    url = click.option(
        "--url", envvar="KNTS_URL", default="http://127.0.0.1:8080", show_default=True, help="The server's address."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return url(as_json(command))


def _key() -> str:
    """The key comes from the environment alone: an argument could be read by anybody who lists processes."""
    import os

    return os.environ.get("KNTS_API_KEY", "").strip()


def _pairs(values: tuple[str, ...], what: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key or not text:
            raise click.BadParameter(f"{value!r} is not {what}; write key=value")
        found.setdefault(key, []).append(text)
    return found


@cli.command(short_help="Start everything on this machine.")
def up() -> None:
    """Start everything on this machine, as `make run` does; Ctrl-C stops it."""
    import runpy

    runpy.run_module("knts.local", run_name="__main__")


@cli.command(short_help="Load files and folders.")
@click.argument("paths", nargs=-1, required=True)
@click.option("--prefix", default="", help="Put this before every document's id, such as team/.")
@click.option("--tag", "tags", multiple=True, help="A tag for every document. Repeatable.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata for every document. Repeatable.")
@click.option("--acl", multiple=True, metavar="GROUP", help="Readable by this group only. Repeatable.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the documents can be searched.")
@click.option("--patience", type=click.FloatRange(min=1), default=120.0, show_default=True,
              help="Seconds without progress after which it gives up.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@_server
def load(
    paths: tuple[str, ...],
    prefix: str,
    tags: tuple[str, ...],
    metadata: tuple[str, ...],
    acl: tuple[str, ...],
    wait: bool,
    patience: float,
    concurrency: int,
    url: str,
    as_json: bool,
) -> None:
    """Load files, folders and patterns: Markdown, text, HTML, JSON lines, PDF, plays in XML.

    A document's id is its path within the folder that was named; loading it again makes a new version.

    \b
    Examples:
      knts load docs README.md
      knts load '~/notes/**/*.md' --prefix notes/ --tag private
      knts load plays --metadata author=Shakespeare --acl editors
    """
    from knts.cli.files import Wishes
    from knts.cli.loading import run

    extra = {key: values[0] if len(values) == 1 else values for key, values in _pairs(metadata, "metadata").items()}
    wishes = Wishes(prefix, tags, acl, extra, concurrency, wait, patience)
    run_to_exit(run(url, _key(), paths, wishes, as_json=as_json))


@cli.command(short_help="Search the documents.")
@click.argument("query", nargs=-1, required=True)
@click.option("--facet", "facets", multiple=True, metavar="KEY", help="Count the hits by this key. Repeatable.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only hits with this value. Repeatable.")
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Hits at most.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Hits to skip.")
@_server
def search(
    query: tuple[str, ...],
    facets: tuple[str, ...],
    filters: tuple[str, ...],
    limit: int,
    offset: int,
    url: str,
    as_json: bool,
) -> None:
    """Search the documents.

    \b
    Examples:
      knts search slings and arows
      knts search ghost --facet speaker --filter 'play=The Tragedy of Hamlet, Prince of Denmark'
    """
    from knts.cli.search import run

    wanted = {f"filter.{key}": values for key, values in _pairs(filters, "a filter").items()}
    run_to_exit(run(url, _key(), " ".join(query), wanted, list(facets), limit, offset, as_json=as_json))


@cli.command(short_help="Ask a question; stream the answer and its sources.")
@click.argument("question", nargs=-1, required=True)
@click.option("--model", help="The model that answers.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only from such documents. Repeatable.")
@click.option("--passages", type=click.IntRange(1, 20), help="Passages that the answer may use, at most.")
@click.option("--no-cache", "cache", flag_value="off", help="Neither read nor write the answer cache.")
@click.option("--refresh", "cache", flag_value="refresh", help="Answer anew, and remember that answer.")
@click.option("--strict", is_flag=True, help="Leave out every sentence that no passage supports.")
@_server
def ask(
    question: tuple[str, ...],
    model: str | None,
    filters: tuple[str, ...],
    passages: int | None,
    cache: str | None,
    strict: bool,
    url: str,
    as_json: bool,
) -> None:
    """Ask a question and watch its answer appear, with its sources; Ctrl-C cancels it.

    \b
    Examples:
      knts ask Who kills Polonius?
      knts ask --refresh --model llama3.2 'What does a Trigger filter?'
    """
    from knts.cli.ask import run

    wanted = {key: values[0] if len(values) == 1 else values for key, values in _pairs(filters, "a filter").items()}
    options = {"model": model, "filters": wanted or None, "max_passages": passages, "cache": cache}
    options["strict"] = strict or None
    request = {"question": " ".join(question), **{key: value for key, value in options.items() if value}}
    run_to_exit(run(url, _key(), request, as_json=as_json))


@cli.command(short_help="Check an answer against the documents.")
@click.argument("answer", metavar="ANSWER.json")
@click.argument("paths", nargs=-1)
@click.option("--prefix", default="", help="What was put before the documents' ids when they were loaded.")
@_server
def verify(answer: str, paths: tuple[str, ...], prefix: str, url: str, as_json: bool) -> None:
    """Check that an answer is as it was written, and that the documents say what it quotes, byte for byte.

    ANSWER.json is what `knts ask --json` printed, - the standard input. PATHS are the documents, as they were given
    to `knts load`: then no server is asked. Without them, the server's own texts are read.

    \b
    Exit codes: 0 every byte is right, 1 something is not, 2 that is no answer, 3 nothing answers at the address

    \b
    Examples:
      knts ask --json 'Who kills Polonius?' > answer.json
      knts verify answer.json
      knts verify answer.json ~/plays
    """
    from knts.cli.verifying import run

    run_to_exit(run(url, _key(), answer, paths, prefix, as_json=as_json))


@cli.command(short_help="Watch the events that flow.")
@click.option("--broker", envvar="KNTS_BROKER_URL", default="http://127.0.0.1:8081/default/kn-ts", show_default=True,
              help="The Broker's address.")  # fmt: skip
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only types that start so. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def events(broker: str, types: tuple[str, ...], as_json: bool) -> None:
    """Watch the events that flow through the development broker, until Ctrl-C.

    \b
    Examples:
      knts events
      knts events --type knts.document --json | jq .subject
    """
    from knts.cli.watching import run

    run_to_exit(run(broker, types, as_json=as_json))


@cli.command(short_help="Draw the way of one answer.")
@click.argument("id")
@click.option("--dir", "folder", envvar="KNTS_TRACE_DIR", help="Where spans are recorded (KNTS_HOME/traces).")
@click.option("--all", "everything", is_flag=True, help="Show the short Redis calls too.")
@click.option("--json", "as_json", is_flag=True, help="Print the spans as JSON.")
def trace(id: str, folder: str | None, everything: bool, as_json: bool) -> None:
    """Draw the way of one answer through the functions, by its id (or a trace id).

    \b
    Example:
      knts trace 3f2a…        the id that `knts ask` prints, or its start
    """
    from knts.cli.tracing import run

    try:
        sys.exit(run(id, folder, everything=everything, as_json=as_json))
    except CommandError as error:
        click.echo(f"knts: {error}", err=True)
        sys.exit(error.code)


@cli.command(short_help="Say what is ready and what waits.")
@click.option("--broker", envvar="KNTS_BROKER_URL", default="http://127.0.0.1:8081/default/kn-ts", show_default=True,
              help="The Broker's address.")  # fmt: skip
@_server
def status(broker: str, url: str, as_json: bool) -> None:
    """Say which parts are ready, how many documents there are, what waits in the Broker, which model answers."""
    from knts.cli.status import run

    run_to_exit(run(url, _key(), broker, as_json=as_json))


@cli.command(short_help="Embed every passage by the model that is set now.")
@click.option("--model", metavar="MODEL", help="The model; OLLAMA_EMBED_MODEL of the local run by default.")
@click.option("--timeout", "seconds", type=float, help="Seconds after which to give up waiting.")
def reindex(model: str | None, seconds: float | None) -> None:
    """Embed every passage by the model that is set now, while searches go on by the one before, and change over.

    index-document does the work, by its OLLAMA_EMBED_MODEL: set it there first. Where it does not run beside here,
    REDIS_URL, TYPESENSE_URL, TYPESENSE_API_KEY and KNTS_COLLECTION say where things are.
    """
    from knts.cli.reindex import run

    run_to_exit(run(model, seconds))
