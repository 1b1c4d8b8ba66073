"""`python -m knts.devbroker`: run the development broker until SIGTERM."""

import os
import sys

import uvloop

from knts.devbroker.fields import ManifestError
from knts.devbroker.service import serve
from knts.errors import Temporary
from knts.settings import SettingsError


def main() -> None:
    """Serve; what hinders the start ends the process with a sentence and status 1."""
    try:
        uvloop.run(serve(os.environ))
    except (SettingsError, ManifestError, Temporary, OSError) as error:
        sys.exit(f"knts: the broker can't start: {error}")


if __name__ == "__main__":
    main()
