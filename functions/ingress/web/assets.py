"""Static files, each under an address that names its content, so that browsers may keep it for good.

htmx and its extension are read from where the pinned django-htmx wheel was installed: nothing is imported or copied.
"""

import gzip
import hashlib
import importlib.util
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from knts.errors import NotFound

HERE = Path(__file__).parent / "static"
HTMX = {"htmx.js": "htmx-2.min.js", "htmx-sse.js": "ext/hx-sse-2.min.js"}
PREFIX = "/ui/static"
FOREVER = "public, max-age=31536000, immutable"


class Missing(Exception):
    """A file that the page needs is not installed."""


@dataclass(frozen=True)
class Asset:
    """One file as it is sent: `url` holds a digest of its content."""

    url: str
    media_type: str
    body: bytes
    packed: bytes
    tag: str


def load() -> dict[str, Asset]:
    """Every static file by its name. Raises Missing where htmx is not installed."""
    found = {path.name: path for path in sorted(HERE.iterdir()) if path.is_file()}
    wheel = _htmx_folder()
    found |= {name: wheel / path for name, path in HTMX.items()}
    return {name: _asset(name, path) for name, path in found.items()}


def _htmx_folder() -> Path:
    spec = importlib.util.find_spec("django_htmx")
    if spec is None or not spec.submodule_search_locations:
        raise Missing("htmx is not installed: pip install --no-deps --require-hashes -r requirements-nodeps.txt")
    return Path(spec.submodule_search_locations[0]) / "static" / "django_htmx"


def _asset(name: str, path: Path) -> Asset:
    body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:16]
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(f"{PREFIX}/{digest}/{name}", media_type, body, gzip.compress(body, mtime=0), f'"{digest}"')


def respond(request: Request, assets: Mapping[str, Asset]) -> Response:
    """The file that the path names, or 304 where the browser has it. Raises NotFound for another name or digest."""
    asset = assets.get(request.path_params["name"])
    if asset is None or request.url.path != asset.url:
        raise NotFound("no such file")
    headers = {"etag": asset.tag, "cache-control": FOREVER, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(asset.body, media_type=asset.media_type, headers=headers)
