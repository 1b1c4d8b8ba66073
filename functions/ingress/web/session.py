"""Signing in to the page: the key rides in a cookie that no script reads and no other site sends."""

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from functions.ingress.access import COOKIE
from functions.ingress.web import headers

_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")  # a path of ours: not //host, no backslash, no blank or control


def local(path: str) -> str:
    """The path where somebody wanted to go, if it lies here; the start otherwise."""
    return path if _LOCAL.match(path) else "/"


def back_to(request: Request) -> str:
    """Where somebody who has to sign in first goes on."""
    if request.method != "GET":
        return "/"
    return local(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path)


def with_key(request: Request, key: str) -> Request:
    """The request as if it brought that key, and no other."""
    kept = [pair for pair in request.scope["headers"] if pair[0] not in (b"authorization", b"cookie")]
    value = f"Bearer {key}".encode("utf-8", errors="replace")
    return Request({**request.scope, "headers": [*kept, (b"authorization", value)]})


def opened(key: str, following: str, *, secure: bool) -> Response:
    """Keep the key and go on."""
    response = _redirect(following)
    response.set_cookie(COOKIE, key, path="/", secure=secure, httponly=True, samesite="strict")
    return response


def closed() -> Response:
    """Forget the key and start again."""
    response = _redirect("/")
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303, headers=dict(headers.PAGE))
