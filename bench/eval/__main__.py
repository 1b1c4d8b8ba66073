"""`make eval`: every part of the evaluation, or those named, such as `python -m bench.eval retrieval`.

A part is a command of bench/ that prints its own tables. What sums it up (`bench.headlines`) stands in one table at the
end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.headlines import GATHERED_IN, HEAD, gathered
from bench.measure import machine, table

PARTS = {
    "retrieval": "bench.eval.retrieval",
    "neighbours": "bench.neighbours",
    "citations": "bench.citations",
    "abstention": "bench.abstention",
    "wording": "bench.wording",
    "conversations": "bench.conversations",
    "interleavings": "bench.interleavings",
    "injection": "bench.injection",
}


def main() -> int:
    """Run the parts, print their headlines; 1 where one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.eval", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(machine())
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        headlines = Path(folder, "headlines")
        headlines.touch()
        for name in arguments.parts or PARTS:
            print(f"\n## {name}: python -m {PARTS[name]}\n", flush=True)
            env = {**os.environ, GATHERED_IN: str(headlines)}
            if subprocess.run([sys.executable, "-m", PARTS[name]], env=env, check=False).returncode:
                failed.append(name)
        print(f"\n## all\n\n{table(HEAD, list(gathered(headlines)))}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
