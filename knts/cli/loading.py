"""`knts load` in the terminal: a progress bar while it runs, and what became of everything at the end."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from knts.cli import output
from knts.cli.api import Api
from knts.cli.errors import FAILED, OK
from knts.cli.files import Report, Wishes
from knts.cli.load import load

MOST_SHOWN = 20


async def run(url: str, key: str, paths: Sequence[str], wishes: Wishes, *, as_json: bool) -> int:
    """Load and report; the exit code is 1 when anything was refused or is not indexed yet."""
    async with Api(url, key) as api:
        with _bar() as progress:
            task = progress.add_task("loading", total=None)

            def tell(report: Report) -> None:
                done = (report.indexed if wishes.wait else report.sent) + len(report.refused)
                progress.update(task, completed=done, total=report.found, description=_doing(report))

            report = await load(api, paths, wishes, tell)
    if as_json:
        output.print_json(asdict(report))
    else:
        _print(report, wishes)
    return OK if report.ok else FAILED


def _bar() -> Progress:
    console = output.err()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _doing(report: Report) -> str:
    return f"{report.sent} sent, {report.indexed} indexed"


def _print(report: Report, wishes: Wishes) -> None:
    console = output.out()
    waited = f", {report.indexed} indexed" if wishes.wait else ""
    console.print(f"{report.sent} sent{waited}, {len(report.refused)} refused, in {report.seconds:g} s")
    if report.skipped:
        console.print(f"{report.skipped} files of other types were left out")
    for item in report.refused[:MOST_SHOWN]:
        console.print(output.shown(f"  refused  {item['id']}: {item['error']}"), markup=False)
    if (more := len(report.refused) - MOST_SHOWN) > 0:
        console.print(f"  … and {more} more; --json names them all")
    if report.pending:
        console.print(f"{len(report.pending)} are not indexed yet; `knts status` tells whether the functions are up")
