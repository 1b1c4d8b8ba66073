"""`knts search`: hits with the found words in colour, and facets."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from knts.cli import output
from knts.cli.api import Api
from knts.cli.errors import OK

MARK = "bold yellow"
MOST_VALUES = 12  # of a facet; --json has all that the server gives


async def run(
    url: str,
    key: str,
    query: str,
    filters: Mapping[str, list[str]],
    facets: list[str],
    limit: int,
    offset: int,
    *,
    as_json: bool,
) -> int:
    """Search and print the hits."""
    parameters = {"q": query, "limit": limit, "offset": offset or None, "facet": facets, **filters}
    async with Api(url, key) as api:
        found = await api.json("GET", "/v1/search", query=parameters)
    if as_json:
        output.print_json(found)
        return OK
    console = output.out()
    for number, hit in enumerate(found["hits"], offset + 1):
        _print_hit(console, number, hit)
    for name, values in (found.get("facets") or {}).items():
        _print_facet(console, name, values)
    console.print(f"{found['found']} found in {found['took_ms']:g} ms", style="dim")
    return OK


def _print_hit(console: Console, number: int, hit: Mapping[str, Any]) -> None:
    passage = hit["passage"]
    title = Text(f"{number}. ", style="dim") + Text(output.shown(hit["title"]), style="bold")
    if section := hit.get("section") or passage.get("title"):
        title += Text(f" › {output.shown(str(section))}")
    console.print(title)
    text = output.marked(passage["text"], hit.get("highlights", []), MARK)
    console.print(Text("\n").join([line for line in text.split("\n") if line.plain.strip()]))
    place = f"{hit['document_id']} v{hit['version']} {passage['start']}–{passage['end']}"
    console.print(output.shown(place), style="dim", markup=False)
    console.print()


def _print_facet(console: Console, name: str, values: Any) -> None:
    """A facet's values with their counts, most frequent first."""
    if isinstance(values, Mapping):
        pairs = [(value, number) for value, number in values.items()]
    else:
        pairs = [(item["value"], item["count"]) for item in values]
    told = ", ".join(f"{value} ({number})" for value, number in pairs[:MOST_VALUES])
    if (more := len(pairs) - MOST_VALUES) > 0:
        told += f" … and {more} more"
    console.print(Text(f"{output.shown(name)}: ", style="bold") + Text(output.shown(told)))
