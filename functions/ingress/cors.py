"""Cross-origin rules: which web pages from elsewhere may read the API's answers. Pure."""

from collections.abc import Sequence

METHODS = "GET, POST, PUT, DELETE"
HEADERS = "authorization, content-type, accept, prefer, last-event-id"
EXPOSED = "location, retry-after"


def allowed(origin: str, origins: Sequence[str]) -> dict[str, str]:
    """The headers that let a page of `origin` read a response; none where it may not, or nobody asked.

    Credentials are never shared: pages from elsewhere use a bearer key, not the cookie.
    """
    if not origins:
        return {}
    if "*" in origins:
        return {"access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED}
    named = {"vary": "origin"}
    if origin in origins:
        named |= {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
    return named


def preflight(origin: str, origins: Sequence[str]) -> dict[str, str]:
    """The headers that answer a browser's question before it sends a request."""
    named = allowed(origin, origins)
    if "access-control-allow-origin" in named:
        named |= {
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": HEADERS,
            "access-control-max-age": "600",
        }
    return named
