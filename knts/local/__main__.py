"""`python -m knts.local`: everything on this machine, until Ctrl-C."""

import os
import sys

from knts.local.run import run

if __name__ == "__main__":
    sys.exit(run(os.environ))
