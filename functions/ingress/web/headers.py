"""What the browser is told about every page: nothing runs or loads but our own files, and nobody may frame it."""

from collections.abc import Mapping

from starlette.requests import Request

from functions.ingress.access import own_page
from knts.errors import Forbidden

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

SECURITY: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # not no-referrer, which would send `Origin: null` with our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}

PAGE: Mapping[str, str] = {**SECURITY, "cache-control": "no-store"}  # pages hold what only this reader may see


def same_origin(request: Request) -> None:
    """Raises Forbidden for a form that another site sent: SameSite guards the cookie, this the tenant without keys."""
    said = request.headers
    origin = said.get("origin")
    if origin is not None and not own_page(origin, said.get("host", ""), said.get("sec-fetch-site", "")):
        raise Forbidden("the form was sent from another site")
