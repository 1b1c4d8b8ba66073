"""`python -m knts.local`: everything on this machine, until Ctrl-C."""

import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C while the imports run ends it without a traceback
    from knts.local.run import run

    sys.exit(run(os.environ))
