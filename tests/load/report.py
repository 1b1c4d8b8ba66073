"""What a load run prints: tables as Markdown, and the same as a picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.load.figures import FIRST, ROWS, Latency, StepFigures, Verdict, knee, of_road
from tests.load.sampling import LOAD


def tables(found: Sequence[StepFigures]) -> str:
    """All tables of a run's steps."""
    peak = knee(found)
    return "\n\n".join(
        [
            "### Throughput",
            table(
                ("users", "calls/s", "answered/s", "refused", "failed", "refusal p95, ms", "hits of repeated"),
                [
                    (
                        named(one, peak),
                        f"{one.offered:.1f}",
                        f"{one.answered:.1f}",
                        one.refused,
                        one.failed,
                        f"{one.refusal.p95:.0f}" if one.refusal else "–",
                        f"{one.hits:.0%}" if one.hits is not None else "–",
                    )
                    for one in found
                ],
            ),
            "### Latency of what was answered: p50 / p95 / p99, ms",
            table(
                ("users", *ROWS),
                [(named(one, peak), *(percentiles(one.latency.get(kind)) for kind in ROWS)) for one in found],
            ),
            "### CPU per answered call, ms",
            by_process(found, peak, [one.cpu_ms for one in found], "{:.1f}"),
            "### CPU, of one core",
            by_process(found, peak, [one.cores for one in found], "{:.2f}"),
            "### Memory at the end of the step, MiB",
            by_process(found, peak, [one.rss for one in found], "{:.0f}"),
            "### What the calls were answered",
            results(found, peak),
        ]
    )


def named(one: StepFigures, peak: StepFigures) -> str:
    """A step by its number of users."""
    return f"{one.step.users}{' (after)' if one.step.after else ' (knee)' if one is peak else ''}"


def percentiles(found: Latency | None) -> str:
    """The three as a cell."""
    return f"{found.p50:.0f} / {found.p95:.0f} / {found.p99:.0f}" if found else "–"


def by_process(found: Sequence[StepFigures], peak: StepFigures, values: Sequence[dict[str, float]], form: str) -> str:
    """A column for each process, and their sum without the load generator."""
    names = [name for name in dict.fromkeys(name for one in values for name in one) if name != LOAD]
    rows = [
        (
            named(one, peak),
            form.format(of_road(value)),
            *(form.format(value[name]) if name in value else "–" for name in [*names, LOAD]),
        )
        for one, value in zip(found, values, strict=True)
    ]
    return table(("users", "all", *names, LOAD), rows)


def results(found: Sequence[StepFigures], peak: StepFigures) -> str:
    """A column for each result that there was."""
    names = sorted({result for one in found for result in one.results})
    return table(("users", *names), [(named(one, peak), *(one.results[name] for name in names)) for one in found])


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table, aligned so that it reads as text too."""
    lines = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([head, "| " + " | ".join("-" * width for width in widths) + " |", *body])


def said(verdict: Verdict) -> str:
    """The verdict as a list."""
    head = "Faults:" if verdict.faults else "No process lost, no undesigned answer."
    return "\n".join([head, *(f"- {fault}" for fault in verdict.faults), "", *(f"- {one}" for one in verdict.told)])


def plot(found: Sequence[StepFigures], path: Path) -> None:
    """Throughput, latency, CPU and memory against the number of users as an SVG; the step after the load as crosses."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kn-ts", "font.size": 8, "axes.grid": True})
    from matplotlib import pyplot

    rising = [one for one in found if not one.step.after]
    last = [one for one in found if one.step.after]
    users, again = [one.step.users for one in rising], [one.step.users for one in last]
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6.2), layout="constrained")
    throughput, searches, repeated, first, cpu, memory = axes.flat

    def line(axis: object, name: str, values: Sequence[float], after: Sequence[float] = ()) -> None:
        drawn = axis.plot(users, values, marker="o", markersize=3, label=name)  # type: ignore[attr-defined]
        axis.plot(again, after or [float("nan")] * len(again), "x", color=drawn[0].get_color())  # type: ignore[attr-defined]

    throughput.set(title="calls a second", ylabel="a second")
    line(throughput, "offered", [one.offered for one in rising])
    line(throughput, "answered", [one.answered for one in rising], [one.answered for one in last])
    line(throughput, "refused", [one.refused / one.step.seconds for one in rising])
    line(throughput, "failed", [one.failed / one.step.seconds for one in rising])
    for axis, kind in ((searches, "search"), (repeated, "repeated question"), (first, FIRST)):
        axis.set(title=f"{kind}, until {'it came' if kind == FIRST else 'answered'}", ylabel="ms", yscale="log")
        for name in ("p50", "p95", "p99"):
            values, after = (
                [getattr(one.latency[kind], name) if kind in one.latency else float("nan") for one in some]
                for some in (rising, last)
            )
            line(axis, name, values, after)
    cpu.set(title="CPU per answered call", ylabel="ms")
    memory.set(title="memory", ylabel="MiB")
    for axis in (cpu, memory):
        axis.set_prop_cycle(color=mpl.color_sequences["tab20"])
    for name in [name for name in dict.fromkeys(name for one in found for name in one.rss) if name != LOAD]:
        line(cpu, name, [one.cpu_ms.get(name, float("nan")) for one in rising])
        line(memory, name, [one.rss.get(name, float("nan")) for one in rising])
    for axis in axes.flat:
        axis.set(xscale="log", xlabel="users")
        axis.set_xticks(users, [str(number) for number in users])
        axis.minorticks_off()
        axis.legend(fontsize=6, framealpha=0.5, ncols=2 if axis in (cpu, memory) else 1)
    figure.suptitle("× is the light load right after the heaviest", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
