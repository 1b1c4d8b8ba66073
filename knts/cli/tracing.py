"""`knts trace`: one answer's way through the functions as a waterfall in the terminal."""

from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from knts.cli import output
from knts.cli.errors import OK
from knts.cli.home import home
from knts.cli.spans import Node, Span, read, tree, walk

DURATION_WIDTH, SHORTEST_BAR, LONGEST_BAR = 8, 10, 60
PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")


def run(wanted: str, folder: str | None, *, everything: bool, as_json: bool) -> int:
    """Draw or print the spans of an answer."""
    spans = read(Path(folder) if folder else default_folder(), wanted)
    if as_json:
        output.print_json(spans)
        return OK
    console = output.out()
    console.print(waterfall(spans, console.width, fold=not everything))
    console.print(heading(spans), style="dim", markup=False)
    return OK


def default_folder() -> Path:
    """Where the local run records spans."""
    return home() / "traces"


def heading(spans: list[Span]) -> str:
    """How long it took, over how many services, and under which trace."""
    total = max(span["end"] for span in spans) - min(span["start"] for span in spans)
    services = sorted({span["service"] for span in spans})
    errors = sum(1 for span in spans if span["error"])
    traces = " ".join(sorted({span["trace_id"] for span in spans}))
    failed = f", {errors} with errors" if errors else ""
    return f"{duration(total)}, {len(spans)} spans{failed} in {', '.join(services)}; trace {traces}"


def waterfall(spans: list[Span], width: int, *, fold: bool = True) -> Table:
    """A line a span: its place in the tree, its service, how long it took, and when, as a bar; `width` columns wide."""
    start = min(span["start"] for span in spans)
    total = max(1, max(span["end"] for span in spans) - start)
    services = sorted({span["service"] for span in spans})
    styles = {service: PALETTE[number % len(PALETTE)] for number, service in enumerate(services)}
    lines = [(_name(guides, node), node) for guides, node in walk(tree(spans, fold=fold))]
    label_width = max(map(len, services))
    left = width - label_width - DURATION_WIDTH - 3
    name_width = min(max(name.cell_len for name, _ in lines), max(30, left - SHORTEST_BAR))
    bar_width = max(SHORTEST_BAR, min(LONGEST_BAR, left - name_width))
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", width=name_width)
    table.add_column(no_wrap=True, width=label_width)
    table.add_column(justify="right", no_wrap=True, width=DURATION_WIDTH)
    table.add_column(no_wrap=True, width=bar_width)
    for name, node in lines:
        span, style = node.span, styles[node.span["service"]]
        bar = Text(_bar(span["start"] - start, node.took, total, bar_width), style="red" if span["error"] else style)
        table.add_row(name, Text(span["service"], style=style), duration(node.took), bar)
    return table


def _name(guides: tuple[bool, ...], node: Node) -> Text:
    lead = "".join("   " if ended else "│  " for ended in guides[1:-1])
    if len(guides) > 1:
        lead += "└─ " if guides[-1] else "├─ "
    name = Text(lead, style="dim") + Text(output.shown(label(node.span)), style="red" if node.span["error"] else "")
    if node.span["error"]:
        name += Text(f" ({output.shown(node.span['error'])})", style="red")
    if node.folded:
        took = sum(span["end"] - span["start"] for span in node.folded)
        name += Text(f" +{len(node.folded)} Redis {duration(took)}", style="dim")
    return name


def label(span: Span) -> str:
    """The span's name, with what HTTP and events leave out of it."""
    attributes, name = span["attributes"], str(span["name"])
    if span["kind"] == "client" and "url.full" in attributes:
        address = urlsplit(str(attributes["url.full"]))
        place = f":{address.port}" if address.port else address.hostname
        return f"{name} {place}{address.path}"
    if status := attributes.get("http.response.status_code"):
        return f"{name} {status}"
    if "db.system.name" in attributes:
        return commands(name)
    return name.replace("knts.", "").replace(".v1", "")


def commands(name: str) -> str:
    """A pipeline's commands, each named once: "SET SADD ×4"."""
    counts = Counter(name.split())
    return " ".join(command if number == 1 else f"{command} ×{number}" for command, number in counts.items())


def _bar(offset: int, took: int, total: int, width: int) -> str:
    """Blocks from the span's start to its end; the shortest span still shows."""
    first = min(width - 1, offset * width // total)
    last = max(first + 1, min(width, round((offset + took) * width / total)))
    return " " * first + "━" * (last - first)


def duration(nanoseconds: int) -> str:
    """A duration in the unit that suits it."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    return f"{nanoseconds / 1_000_000_000:.2f} s"
