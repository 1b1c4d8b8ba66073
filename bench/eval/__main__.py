"""`make eval`: every part of the evaluation, or those named, such as `python -m bench.eval retrieval`.

A part is a module with `tables(arguments)`, which measures and yields a title and a table's text. Add it to `PARTS`.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping

from bench.eval import retrieval
from bench.measure import machine

Part = Callable[[argparse.Namespace], Iterator[tuple[str, str]]]

PARTS: Mapping[str, Part] = {"retrieval": retrieval.tables}


def main() -> None:
    """Measure the parts and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.eval", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument(
        "--sets", nargs="*", metavar="SET", help="collections to measure; all that are there by default"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(machine())
    for name in arguments.parts or PARTS:
        for title, table in PARTS[name](arguments):
            print(f"\n### {title}\n\n{table}", flush=True)


if __name__ == "__main__":
    main()
