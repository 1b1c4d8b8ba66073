"""`python -m bench`: every benchmark that docs/performance.md quotes, one after the other."""

import subprocess
import sys

COMMANDS = ("bench.codec", "bench.broker", "bench.road", "bench.cancel")


def main() -> int:
    """Run each; the first failure's status."""
    for name in COMMANDS:
        print(f"\n## python -m {name}\n", flush=True)
        if status := subprocess.run([sys.executable, "-m", name]).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
