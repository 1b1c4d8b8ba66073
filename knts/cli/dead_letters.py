"""The options of `knts dead-letters` and its subcommands."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from knts.cli.running import run_to_exit

F = TypeVar("F", bound=Callable[..., Any])

_AGO = re.compile(r"(\d{1,6})([smhd])\Z", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """A time as RFC 3339, given so or as how long ago."""
    if text is None:
        return None
    if ago := _AGO.match(text):
        return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat(timespec="milliseconds")
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter("write 30m, 2h, 1d, or a time such as 2026-01-31T12:00:00Z") from error
    return (at if at.tzinfo else at.astimezone()).isoformat(timespec="milliseconds")


def _address(command: F) -> F:
    url = click.option("--url", envvar="KNTS_DEAD_LETTERS_URL",
                       help="The dead-letter function's address (that of the local run).")  # fmt: skip
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return url(as_json(command))


def _filters(command: F) -> F:
    for option in reversed((
        click.option("--type", "type_", metavar="TYPE", help="Only types that start so."),
        click.option("--trigger", metavar="NAME", help="Only those that failed in this Trigger."),
        click.option("--tenant", metavar="TENANT", help="Only this tenant's."),
        click.option("--since", metavar="WHEN", callback=since, help="Only from then on: 30m, 2h, 1d, or a time."),
    )):  # fmt: skip
        command = option(command)
    return command


def _named(type_: str | None, trigger: str | None, tenant: str | None, since: str | None) -> dict[str, str]:
    given = {"type": type_, "trigger": trigger, "tenant": tenant, "since": since}
    return {name: value for name, value in given.items() if value}


def _meant(ids: tuple[str, ...], filters: dict[str, str], everything: bool) -> Any:
    from knts.cli.letters import Meant

    if sum(map(bool, (ids, filters, everything))) != 1:
        raise click.UsageError("say which: ids, or a filter, or --all")
    return Meant(ids, None if ids else filters)


@click.group("dead-letters", short_help="Look at what could not be delivered; replay or drop it.")
def dead_letters() -> None:
    """What could not be delivered: look at it, send it again, drop it.

    The dead-letter function is asked with an operator's key from KNTS_OPERATOR_KEY; the local run's is found by itself.
    """


@dead_letters.command("list", short_help="List them, the oldest first.")
@_filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Letters at most.")
@click.option("--after", metavar="PLACE", help="Go on where the list before ended.")
@_address
def list_(
    type_: str | None,
    trigger: str | None,
    tenant: str | None,
    since: str | None,
    limit: int,
    after: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """List dead letters, the oldest first.

    \b
    Examples:
      knts dead-letters list
      knts dead-letters list --trigger index-document --since 2h --json | jq .letters[].id
    """
    from knts.cli.letters import show_list

    run_to_exit(show_list(url, _named(type_, trigger, tenant, since), after, limit, as_json=as_json))


@dead_letters.command(short_help="Show one, with its data and why it failed.")
@click.argument("id")
@_address
def show(id: str, url: str | None, as_json: bool) -> None:
    """Show a dead letter: where and why it failed, its attributes, its data."""
    from knts.cli.letters import show_one

    run_to_exit(show_one(url, id, as_json=as_json))


@dead_letters.command(short_help="Send some again to the Trigger that failed.")
@click.argument("ids", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All there are.")
@click.option("--broker", envvar="KNTS_BROKER_URL", help="The Broker's address (that of the local run).")
@click.option("--to", metavar="URL", help="Deliver to a subscriber at this address, without the Broker.")
@_address
def replay(
    ids: tuple[str, ...],
    type_: str | None,
    trigger: str | None,
    tenant: str | None,
    since: str | None,
    everything: bool,
    broker: str | None,
    to: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Send dead letters again, to the Trigger that failed and to no other; each is removed once it was accepted.

    Only the development broker can do that. On Knative, --to delivers to the subscriber itself; its reply, if it has
    one, goes to the Broker.

    \b
    Examples:
      knts dead-letters replay 3f2a…
      knts dead-letters replay --trigger index-document --since 1d
      knts dead-letters replay --trigger search --to http://127.0.0.1:9001
    """
    from knts.cli.replay import run

    meant = _meant(ids, _named(type_, trigger, tenant, since), everything)
    run_to_exit(run(url, broker, to, meant, as_json=as_json))


@dead_letters.command(short_help="Forget some for good.")
@click.argument("ids", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All there are.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@_address
def drop(
    ids: tuple[str, ...],
    type_: str | None,
    trigger: str | None,
    tenant: str | None,
    since: str | None,
    everything: bool,
    yes: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Forget dead letters for good."""
    from knts.cli import letters

    meant = _meant(ids, _named(type_, trigger, tenant, since), everything)

    async def found_and_dropped() -> int:
        found = await letters.find(url, meant)
        if found and not yes and not click.confirm(f"forget {len(found)} dead letters for good?", err=True):
            click.echo("nothing was dropped", err=True)
            return 1
        return await letters.drop(url, found, as_json=as_json)

    run_to_exit(found_and_dropped())
