"""Who may come in: the keys file, read again when it changes, and the principal of a request."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import HTTPConnection

from functions.ingress.access import COOKIE, LOCAL, Credentials, Principal, identify, is_loopback, keys_from
from knts.settings import SettingsError, setting, words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AccessSettings:
    """Who may come in."""

    keys_file: Path | None = setting(
        "KNTS_KEYS_FILE",
        "JSON or YAML list of {sha256, tenant, groups, name}; without it only this machine is served",
        None,
        parse=Path,
    )
    local_groups: tuple[str, ...] = setting(
        "KNTS_LOCAL_GROUPS",
        "comma-separated groups of this machine's user where no keys are configured",
        (),
        parse=words,
    )
    origins: tuple[str, ...] = setting(
        "KNTS_CORS_ORIGINS", "comma-separated web origins that may call from elsewhere, or *", (), parse=words
    )
    host: str = setting("KNTS_HOST", "address to listen on", "0.0.0.0")  # noqa: S104 - a container's only address


@dataclass
class Gate:
    """Finds the principal of a request. Raises SettingsError at start when nobody could be told apart safely."""

    settings: AccessSettings
    _keys: dict[str, Principal] | None = field(default=None, init=False)
    _stamp: tuple[int, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.settings.keys_file is None:
            if not is_loopback(self.settings.host):
                raise SettingsError(
                    f"KNTS_HOST = {self.settings.host!r} is reachable from elsewhere, so KNTS_KEYS_FILE must be set: "
                    "JSON or YAML list of {sha256, tenant, groups, name}"
                )
            return
        try:
            self._keys, self._stamp = self._read(self.settings.keys_file), _stamp(self.settings.keys_file)
        except (OSError, ValueError) as error:
            raise SettingsError(f"KNTS_KEYS_FILE = {str(self.settings.keys_file)!r} is bad: {error}") from error

    def principal(self, request: HTTPConnection) -> Principal:
        """Who sends the request. Raises Unauthorized, Forbidden."""
        self._reload()
        local = Principal(LOCAL, self.settings.local_groups, LOCAL)
        return identify(credentials(request), self._keys, local, self.settings.origins)

    def _reload(self) -> None:
        """Keys are revoked and added without a restart; a file that became bad changes nothing, and is told of."""
        path = self.settings.keys_file
        if path is None:
            return
        try:
            stamp = _stamp(path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._keys = self._read(path)
            log.info("read %d keys again", len(self._keys))
        except (OSError, ValueError) as error:
            log.error("the keys file is bad, the keys read before hold: %s", error)

    @staticmethod
    def _read(path: Path) -> dict[str, Principal]:
        try:
            entries: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError("expected JSON or YAML") from error
        return keys_from(entries)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def credentials(request: HTTPConnection) -> Credentials:
    """What a request says of its sender."""
    return Credentials(
        method=str(request.scope.get("method", "GET")),
        client=request.client.host if request.client else "",
        host=request.headers.get("host", ""),
        authorization=request.headers.get("authorization", ""),
        cookie=request.cookies.get(COOKIE, ""),
        origin=request.headers.get("origin", ""),
        fetch_site=request.headers.get("sec-fetch-site", ""),
    )
