"""`make eval`: every part of the evaluation, or those named, such as `python -m bench.eval retrieval`.

A part is a module with `tables(arguments)`, which measures and yields a title and a table (`PARTS`), or a command of
bench/ that prints its own (`COMMANDS`).
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

from bench.eval import retrieval
from bench.measure import machine

Part = Callable[[argparse.Namespace], Iterator[tuple[str, str]]]

PARTS: Mapping[str, Part] = {"retrieval": retrieval.tables}
COMMANDS = ("citations", "abstention", "interleavings", "injection")
ALL = (*PARTS, *COMMANDS)


def main() -> int:
    """Measure the parts and print their tables; 1 where one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.eval", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(ALL)}; all of them by default")
    parser.add_argument(
        "--sets", nargs="*", metavar="SET", help="collections to measure; all that are there by default"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(ALL):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(machine())
    status = 0
    for name in arguments.parts or ALL:
        if name in COMMANDS:
            print(f"\n### {name.capitalize()}\n", flush=True)
            status |= subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
            continue
        for title, table in PARTS[name](arguments):
            print(f"\n### {title}\n\n{table}", flush=True)
    return int(bool(status))


if __name__ == "__main__":
    sys.exit(main())
