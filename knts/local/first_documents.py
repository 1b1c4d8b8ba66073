"""Loads the repository's own docs at the first start, through the HTTP API and with the command line's own loader."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from knts.cli.api import Api
from knts.cli.errors import CommandError
from knts.cli.files import Report, Wishes
from knts.cli.load import load

TAG = "kn-ts"


def load_first(api: str, key: str, root: Path, places: Sequence[str], say: Callable[[str], None]) -> bool:
    """Load files and folders, relative to `root`, and wait until they are indexed; whether all of them are.

    What was refused is said and does not stop the rest; a server that is gone is said too.
    """
    paths = [str(root / place.strip()) for place in places if (root / place.strip()).exists()]
    try:
        report = asyncio.run(_load(api, key, paths))
    except CommandError as error:
        say(f"  the first documents could not be loaded: {error}; the next start tries again")
        return False
    for item in report.refused:
        say(f"  refused {item['id']}: {item['error']}")
    say(f"  kn-ts' own documents: {report.indexed} of {report.found} are indexed ({report.seconds:g} s)")
    return report.ok


async def _load(api: str, key: str, paths: list[str]) -> Report:
    async with Api(api, key) as server:
        return await load(server, paths, Wishes(tags=(TAG,)), lambda _: None)
