"""Who asks: bearer keys by their digest, the page's cookie, and what a server without keys still allows. No I/O."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from knts.errors import Forbidden, Unauthorized

COOKIE = "knts_key"
LOCAL = "local"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Principal:
    """Who asks: a tenant, the groups whose documents he may read, and an id that names the key."""

    tenant: str
    groups: tuple[str, ...]
    id: str


@dataclass(frozen=True)
class Credentials:
    """What a request says of who sends it. `client` is the peer's address, `host` the Host header."""

    method: str
    client: str
    host: str
    authorization: str = ""
    cookie: str = ""
    origin: str = ""
    fetch_site: str = ""


def digest(key: str) -> str:
    """What a keys file holds of a key: the SHA-256 of its UTF-8 as 64 hex characters."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def keys_from(entries: Any) -> dict[str, Principal]:
    """Principals by key digest from a keys file's content: a list of `{sha256, tenant, groups?, name?}`.

    Raises ValueError naming the entry and what is wrong with it.
    """
    if not isinstance(entries, list):
        raise ValueError("expected a list of {sha256, tenant, groups, name?}")
    found: dict[str, Principal] = {}
    for number, entry in enumerate(entries):
        sha256, principal = _entry(number, entry)
        if sha256 in found:
            raise ValueError(f"entry {number}: its sha256 stands there twice")
        found[sha256] = principal
    return found


def _entry(number: int, entry: Any) -> tuple[str, Principal]:
    def fail(rule: str) -> ValueError:
        return ValueError(f"entry {number}: {rule}")

    if not isinstance(entry, Mapping):
        raise fail("expected an object")
    if unknown := sorted(map(str, set(entry) - {"sha256", "tenant", "groups", "name"})):
        raise fail(f"unknown field {unknown[0]}")
    sha256, tenant, groups = entry.get("sha256"), entry.get("tenant"), entry.get("groups") or []
    if not isinstance(sha256, str) or not _DIGEST.match(sha256.lower()):
        raise fail("sha256 must be 64 hex characters")
    if not isinstance(tenant, str) or not 1 <= len(tenant) <= 128 or not tenant.isprintable():
        raise fail("tenant must be a printable text of 1 to 128 characters")
    if not isinstance(groups, list) or not all(isinstance(group, str) and 0 < len(group) <= 256 for group in groups):
        raise fail("groups must be a list of texts of 1 to 256 characters")
    return sha256.lower(), Principal(tenant, tuple(dict.fromkeys(groups)), sha256.lower()[:32])


def identify(
    given: Credentials, keys: Mapping[str, Principal] | None, local: Principal, origins: Sequence[str] = ()
) -> Principal:
    """The principal of a request. Raises Unauthorized or Forbidden.

    `keys` None: none are configured, and only this machine is served, as `local`. `origins` are the web origins that
    may call from elsewhere.
    """
    if keys is None:
        _check_loopback(given)
        if given.origin:
            _check_origin(given, origins)
        return local
    if given.authorization:
        return _by_key(bearer(given.authorization), keys)
    if given.cookie:
        _check_origin(given, ())
        return _by_key(given.cookie, keys)
    raise Unauthorized("a bearer key is required: Authorization: Bearer <key>")


def bearer(authorization: str) -> str:
    """The key in an Authorization header."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("the Authorization header must be: Bearer <key>")
    return key.strip()


def _by_key(key: str, keys: Mapping[str, Principal]) -> Principal:
    """Each known digest is compared in constant time, so that the time taken tells nothing of how near one came."""
    given, found = digest(key), None
    for known, principal in keys.items():
        if hmac.compare_digest(known, given):
            found = principal
    if found is None:
        raise Unauthorized("the key is not known")
    return found


def _check_loopback(given: Credentials) -> None:
    if not is_loopback(given.client):
        raise Forbidden("no keys are configured, so only this machine is served")
    if not is_loopback(host_name(given.host)):
        raise Forbidden("no keys are configured, so only requests to localhost or a loopback address are served")


def _check_origin(given: Credentials, allowed: Sequence[str]) -> None:
    """What a browser sends by itself proves nothing about who made it send: a change must come from our own pages."""
    if given.method in SAFE_METHODS:
        return
    if given.origin in allowed or own_page(given.origin, given.host, given.fetch_site):
        return
    raise Forbidden("a change must come from this server's own pages (Origin or Sec-Fetch-Site says otherwise)")


def own_page(origin: str, host: str, fetch_site: str) -> bool:
    """Whether a page of this server sent the request, by what browsers say of it and pages can't change.

    Sec-Fetch-Site is the browser's own verdict, and holds behind a gateway that changes the Host; over plain http to
    another machine browsers don't send it, and Origin and Host are compared.
    """
    if origin == "null":
        return False
    if fetch_site:
        return fetch_site == "same-origin"
    return bool(origin) and urlsplit(origin).netloc.lower() == host.lower()


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host_header: str) -> str:
    """A Host header without its port and brackets."""
    try:
        return urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return ""
