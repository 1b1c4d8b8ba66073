"""`python -m bench.scale`: what each part needs for so many answers a second, calculated from what was measured.

CPU a call comes from the row of the knee in docs/load.md (or in a report of yours by `make load`); the rest of the
inputs are constants below, each with its source, or options. It is a calculation and no measurement; what it assumes:

- CPU grows in proportion to calls, and a replica, one process, uses one core up to `--busy` of it.
- Questions come independently of each other (Poisson) and their writing takes exponentially distributed time, so the
  model's slots are a queue M/M/c. Real answers vary less than that, so a real line is rather shorter.
- The durable Redis is one thread and can't be divided: beyond it a second installation takes a part of the tenants.
- Its CPU includes the development broker's queue, which a cluster keeps in Kafka: so it is an upper bound.
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.measure import table

REPORT = Path(__file__).resolve().parents[1] / "docs" / "load.md"
SEARCHES, REPEATED, DOCUMENTS, FRESH, LISTENERS = 0.49, 0.21, 0.05, 0.01, 0.02  # calls a second of a user: docs/load.md
STREAM_KIB = 55  # of ingress, each open stream: docs/load.md
STREAMS = 8000  # that one ingress takes: KNTS_STREAMS
IN_FLIGHT = 50  # unordered deliveries that the Kafka broker keeps for a consumer
INDEX_SECONDS = 64 / 334.07  # a document in index-document: 64 at a time, 334 a second (docs/performance.md)
QUEUE = 32  # questions that wait for a model and hold their deliveries: KNTS_QUEUE


@dataclass(frozen=True)
class Cpu:
    """CPU time in ms that one use of each part takes."""

    ingress: float  # a call
    search: float  # a retrieval
    typesense: float  # a retrieval
    llm_answer: float  # a question that is not answered by ingress
    cache_writer: float  # the same, or a document
    index_document: float  # a document
    redis: float  # a call


@dataclass(frozen=True)
class Load:
    """What people do: `answers` a second and what comes with them."""

    answers: float
    fresh: float = 0.2  # share that a model must write
    fast: float = 0.3  # share that ingress knows: no event at all
    searches: float = 3.0  # for each answer
    documents: float = 0.01  # for each answer


@dataclass(frozen=True)
class Model:
    """What writes answers: measured by `make load` for the packaged one; yours by your own run of it."""

    seconds: float = 0.9  # for one answer, while all slots of a node write
    slots: int = 1  # of a node, whose answers are written at the same time
    wait: float = 5.0  # seconds that at most one in twenty should wait for a slot


def measured(report: str) -> Cpu:
    """CPU for each use, from the report's row of the knee and the rates of what its users do."""
    users, answered = _knee(report, "answered/s")
    cpu = {name: _knee(report, name)[1] for name in COLUMNS}
    questions = REPEATED + FRESH + LISTENERS
    uses = {
        "ingress": SEARCHES + questions + DOCUMENTS,
        "search": SEARCHES + questions,
        "typesense": SEARCHES + questions,
        "llm-answer": questions,
        "cache-writer": questions + DOCUMENTS,
        "index-document": DOCUMENTS,
        "redis": SEARCHES + questions + DOCUMENTS,
    }
    return Cpu(**{name.replace("-", "_"): cpu[name] * answered / (users * uses[name]) for name in COLUMNS})


COLUMNS = tuple(field.name.replace("_", "-") for field in fields(Cpu))


def _knee(report: str, column: str) -> tuple[int, float]:
    """Users at the knee, and the column's number there, in the first table that has one (latencies are three)."""
    head: list[str] = []
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and cells[0] == "users":
            head = cells
        elif column in head and (users := re.match(r"(\d+) \(knee\)", cells[0] if cells else "")):
            cell = cells[head.index(column)]
            if re.fullmatch(r"[\d.]+", cell):
                return int(users[1]), float(cell)
    raise SystemExit(f"the report has no table with the knee and {column}")


def uses(load: Load) -> dict[str, float]:
    """How often a second each part is used."""
    road = load.answers * (1 - load.fast)
    searches, documents = load.answers * load.searches, load.answers * load.documents
    calls = load.answers + searches + documents
    return {
        "ingress": calls,
        "search": searches + road,
        "typesense": searches + road,
        "llm_answer": road,
        "cache_writer": road + documents,
        "index_document": documents,
        "redis": calls,
    }


def busy_cores(load: Load, cpu: Cpu) -> dict[str, float]:
    """Cores that each part keeps busy."""
    return {part: often * getattr(cpu, part) / 1000 for part, often in uses(load).items()}


def waits(slots: int, offered: float) -> float:
    """Erlang's C: the share of arrivals that find all slots taken, `offered` being arrivals times seconds for each."""
    if offered >= slots:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion over slots
    for number in range(1, slots + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / slots * (1 - blocked))


def slots_needed(rate: float, model: Model, share: float = 0.05) -> int:
    """The fewest slots with which at most `share` of the questions wait longer than `model.wait`."""
    offered = rate * model.seconds
    slots = max(1, math.floor(offered) + 1)
    while waits(slots, offered) * math.exp(-(slots - offered) * model.wait / model.seconds) > share:
        slots += 1
    return slots


def first_to_saturate(load: Load, cpu: Cpu, model: Model, busy: float) -> list[tuple[str, float]]:
    """With one of each part: the answers a second at which each is `busy`, the first one first."""
    one = Load(1, load.fresh, load.fast, load.searches, load.documents)
    most = {part: busy / cores for part, cores in busy_cores(one, cpu).items() if cores}
    if load.fresh:
        most["model"] = busy * model.slots / model.seconds / load.fresh
    return sorted(most.items(), key=lambda each: each[1])


def needed(load: Load, cpu: Cpu, model: Model, *, busy: float, node_cores: int) -> dict[str, int]:
    """Replicas of each part, and what else has to be provided."""
    cores = busy_cores(load, cpu)
    slots = slots_needed(load.answers * load.fresh, model) if load.fresh else 0
    open_streams = load.answers * (1 - load.fast) * (model.seconds + model.wait)
    found = {part: max(1, math.ceil(cores[part] / busy)) for part in cores if part != "typesense"}
    found["ingress"] = max(found["ingress"], math.ceil(open_streams / STREAMS))
    leaders = slots + QUEUE
    return {
        **found,
        "typesense": max(3, math.ceil(cores["typesense"] / busy / node_cores)),
        "open_streams": math.ceil(open_streams),
        "slots": slots,
        "model_nodes": math.ceil(slots / model.slots),
        "partitions": max(math.ceil(leaders / IN_FLIGHT), math.ceil(uses(load)["index_document"] * INDEX_SECONDS), 1),
    }


def cost(found: Mapping[str, int], *, node_cores: int, core_price: float, model_price: float) -> float:
    """What it costs, in the prices' money and time: a core for each replica, and nodes of the model."""
    replicas = sum(found[part] for part in PARTS if part != "typesense") + found["typesense"] * node_cores
    return replicas * core_price + found["model_nodes"] * model_price


PARTS = tuple(field.name for field in fields(Cpu))
ROWS = (*PARTS, "open_streams", "slots", "model_nodes", "partitions")
WORDS = {
    "redis": "redis (durable): installations",
    "typesense": "typesense: nodes",
    "slots": "model: slots",
    "model_nodes": "model: nodes",
    "open_streams": "open streams",
    "partitions": "Kafka partitions, at least",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    options = parser().parse_args(arguments)
    cpu, model = measured(options.report.read_text()), Model(options.seconds, options.slots, options.wait)
    rates = [_load(rate, options) for rate in options.answers]
    print("CPU for each use, ms:", ", ".join(f"{part} {getattr(cpu, part):.1f}" for part in PARTS))
    print(f"\nOne of each: answers a second at which it is {options.busy:.0%} busy\n")
    order = first_to_saturate(_load(1, options), cpu, model, options.busy)
    print(table(("part", "answers/s"), [(part.replace("_", "-"), f"{most:.1f}") for part, most in order]))
    print("\nReplicas for so many answers a second\n")
    columns = [needed(load, cpu, model, busy=options.busy, node_cores=options.node_cores) for load in rates]
    rows = [(WORDS.get(row, row.replace("_", "-")), *(column[row] for column in columns)) for row in ROWS]
    rows.append(("ingress: MiB for streams", *(round(one["open_streams"] * STREAM_KIB / 1024) for one in columns)))
    if options.core_price or options.model_price:
        prices = {"core_price": options.core_price, "model_price": options.model_price}
        rows.append(("cost", *(round(cost(one, node_cores=options.node_cores, **prices)) for one in columns)))
    print(table(("answers/s", *(f"{load.answers:g}" for load in rates)), rows))
    return 0


def _load(answers: float, options: argparse.Namespace) -> Load:
    return Load(answers, options.fresh, options.fast, options.searches, options.documents)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    said = argparse.ArgumentParser(prog="bench.scale", description=__doc__.split("\n")[0])
    said.add_argument("answers", nargs="*", type=float, default=[1, 10, 100, 1000, 3000], help="answers a second")
    said.add_argument("--report", type=Path, default=REPORT, help="a report of `make load` (docs/load.md)")
    for name, start, help_ in (
        ("fresh", Load.fresh, "share of answers that a model must write"),
        ("fast", Load.fast, "share of answers that ingress gives from the cache, with no event"),
        ("searches", Load.searches, "searches for each answer"),
        ("documents", Load.documents, "changed documents for each answer"),
        ("seconds", Model.seconds, "that the model takes for an answer, all its slots writing"),
        ("wait", Model.wait, "seconds that one in twenty may wait for a slot"),
        ("busy", 0.6, "share of a core that a replica uses"),
        ("core-price", 0.0, "of a core, in any money and time"),
        ("model-price", 0.0, "of a node of the model"),
    ):
        said.add_argument(f"--{name}", type=float, default=start, help=f"{help_} (%(default)s)")
    said.add_argument("--slots", type=int, default=Model.slots, help="of a node of the model (%(default)s)")
    said.add_argument("--node-cores", type=int, default=8, help="of a Typesense node (%(default)s)")
    return said


if __name__ == "__main__":
    sys.exit(main())
