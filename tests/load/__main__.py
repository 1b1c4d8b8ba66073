"""`python -m tests.load [steps|streams]`, which `make load` calls: a rising load, and open streams."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.load import steps, streams


def main() -> int:
    """Run what was asked for; 1 where something was seen that may not be."""
    parser = argparse.ArgumentParser(prog="make load ARGS=…", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("steps", "streams", "all"), default="all")
    parser.add_argument("--out", type=Path, default=Path(".knts/load"), help="folder for tables, plot and record")
    parser.add_argument("--users", default=",".join(map(str, steps.Plan().users)), help="number of users in each step")
    parser.add_argument("--seconds", type=float, default=steps.Plan().seconds, help="length of a step")
    parser.add_argument("--after", type=float, default=steps.Plan().after, help="length of the light load afterwards")
    parser.add_argument("--streams", type=int, default=streams.STREAMS, help="how many streams are held open")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="knts-load-") as folder:
        if given.what in ("steps", "all"):
            plan = steps.Plan(tuple(int(users) for users in given.users.split(",")), given.seconds, given.after)
            faults += steps.run(plan, given.out, Path(folder) / "steps").faults
        if given.what in ("streams", "all"):
            faults += streams.run(given.streams, given.out, Path(folder) / "streams").faults
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
