"""A command's work run to its exit code; whatever is expected to fail is one sentence on stderr."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import click

from knts.cli.errors import FAILED, INTERRUPTED, CommandError


def run_to_exit(work: Coroutine[Any, Any, int]) -> NoReturn:
    """End the process with the exit code of this work."""
    try:
        code = asyncio.run(work)
    except CommandError as error:
        click.echo(f"knts: {error}", err=True)
        code = error.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, as `head` does
        code = FAILED
    sys.exit(code)
