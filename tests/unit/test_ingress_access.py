"""Who may come in, as a table: keys, the cookie, and a machine without keys."""

import dataclasses
import os
from pathlib import Path

import pytest

from functions.ingress.access import Credentials, Principal, digest, host_name, identify, is_loopback, keys_from
from functions.ingress.gate import AccessSettings, Gate
from knts.errors import Forbidden, KntsError, Unauthorized
from knts.settings import SettingsError, read

ANN = Principal("acme", ("hr", "staff"), digest("ann's key")[:32])
LOCAL = Principal("local", ("me",), "local")
KEYS = {digest("ann's key"): ANN}
HERE = Credentials("GET", "127.0.0.1", "127.0.0.1:8080")
FROM_AFAR = Credentials("GET", "192.0.2.7", "kn.example")

BY_KEY = dataclasses.replace(FROM_AFAR, authorization="Bearer ann's key")
BY_COOKIE = dataclasses.replace(FROM_AFAR, cookie="ann's key")
CHANGE = dataclasses.replace(BY_COOKIE, method="DELETE")


@pytest.mark.parametrize(
    ("given", "keys", "expected"),
    [
        (BY_KEY, KEYS, ANN),
        (dataclasses.replace(BY_KEY, authorization="bearer   ann's key "), KEYS, ANN),
        (dataclasses.replace(BY_KEY, authorization="Bearer other"), KEYS, Unauthorized),
        (dataclasses.replace(BY_KEY, authorization="Bearer "), KEYS, Unauthorized),
        (dataclasses.replace(BY_KEY, authorization="Basic ann's key"), KEYS, Unauthorized),
        (dataclasses.replace(BY_KEY, authorization="Bearer \udcff"), KEYS, Unauthorized),
        (dataclasses.replace(BY_KEY, authorization="Bearer other", cookie="ann's key"), KEYS, Unauthorized),
        (dataclasses.replace(BY_KEY, method="PUT", origin="https://evil.example"), KEYS, ANN),
        (FROM_AFAR, KEYS, Unauthorized),
        (HERE, KEYS, Unauthorized),
        (BY_COOKIE, KEYS, ANN),
        (dataclasses.replace(BY_COOKIE, cookie="other"), KEYS, Unauthorized),
        (CHANGE, KEYS, Forbidden),
        (dataclasses.replace(CHANGE, origin="https://kn.example"), KEYS, ANN),
        (dataclasses.replace(CHANGE, origin="https://evil.example"), KEYS, Forbidden),
        # behind a gateway that puts another Host in the place of the one that the browser asked
        (dataclasses.replace(CHANGE, origin="https://public.example", fetch_site="same-origin"), KEYS, ANN),
        (dataclasses.replace(CHANGE, origin="https://public.example", fetch_site="same-site"), KEYS, Forbidden),
        (dataclasses.replace(CHANGE, origin="https://kn.example", fetch_site="cross-site"), KEYS, Forbidden),
        (dataclasses.replace(CHANGE, origin="null", fetch_site="same-origin"), KEYS, Forbidden),
        (dataclasses.replace(CHANGE, fetch_site="same-origin"), KEYS, ANN),
        (dataclasses.replace(CHANGE, fetch_site="same-site"), KEYS, Forbidden),
        (dataclasses.replace(CHANGE, fetch_site="cross-site"), KEYS, Forbidden),
        (HERE, None, LOCAL),
        (dataclasses.replace(HERE, client="::1", host="localhost"), None, LOCAL),
        (dataclasses.replace(HERE, client="::1", host="[::1]:8080"), None, LOCAL),
        (dataclasses.replace(HERE, client="192.0.2.7"), None, Forbidden),
        (dataclasses.replace(HERE, client=""), None, Forbidden),
        (dataclasses.replace(HERE, host="rebound.example:8080"), None, Forbidden),
        (dataclasses.replace(HERE, host=""), None, Forbidden),
        (dataclasses.replace(HERE, method="POST"), None, LOCAL),
        (dataclasses.replace(HERE, method="POST", origin="http://127.0.0.1:8080"), None, LOCAL),
        (dataclasses.replace(HERE, method="POST", origin="https://evil.example"), None, Forbidden),
        (dataclasses.replace(HERE, method="POST", origin="https://app.example"), None, LOCAL),
        (dataclasses.replace(HERE, origin="https://evil.example"), None, LOCAL),
    ],
)
def test_who_a_request_is_from(
    given: Credentials, keys: dict[str, Principal] | None, expected: Principal | type[KntsError]
) -> None:
    if isinstance(expected, Principal):
        assert identify(given, keys, LOCAL, ["https://app.example"]) == expected
    else:
        with pytest.raises(expected):
            identify(given, keys, LOCAL, ["https://app.example"])


def test_a_foreign_page_may_not_use_the_cookie_even_where_it_may_use_a_key() -> None:
    given = dataclasses.replace(CHANGE, origin="https://app.example")
    with pytest.raises(Forbidden):
        identify(given, KEYS, LOCAL, ["https://app.example"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("LOCALHOST", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("header", "name"), [("a:1", "a"), ("[::1]:8", "::1"), ("::1", ""), ("[", ""), ("", ""), ("127.0.0.1", "127.0.0.1")]
)
def test_the_host_of_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


ENTRY = {"sha256": digest("k"), "tenant": "acme", "groups": ["hr"]}


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ({"keys": []}, "expected a list"),
        (["k"], "entry 0: expected an object"),
        ([{**ENTRY, "key": "k"}], "entry 0: unknown field key"),
        ([{**ENTRY, "sha256": "k"}], "entry 0: sha256 must be 64 hex"),
        ([{**ENTRY, "tenant": ""}], "entry 0: tenant"),
        ([{**ENTRY, "tenant": "a\nb"}], "entry 0: tenant"),
        ([{**ENTRY, "groups": "hr"}], "entry 0: groups"),
        ([{**ENTRY, "groups": [""]}], "entry 0: groups"),
        ([ENTRY, {**ENTRY, "sha256": digest("k").upper()}], "entry 1: its sha256 stands there twice"),
    ],
)
def test_a_bad_keys_file_is_refused_by_entry(entries: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        keys_from(entries)


def test_keys_are_known_by_digest_and_groups_are_optional() -> None:
    found = keys_from([{**ENTRY, "name": "Ann"}, {"sha256": digest("l"), "tenant": "t"}])
    assert found[digest("k")].groups == ("hr",)
    assert found[digest("l")].groups == ()
    assert found[digest("k")].id != found[digest("l")].id


def gate(**env: str) -> Gate:
    return Gate(read(AccessSettings, {"KNTS_HOST": "127.0.0.1", **env}))


def test_without_keys_only_loopback_may_be_listened_on() -> None:
    gate()
    with pytest.raises(SettingsError, match="KNTS_KEYS_FILE"):
        gate(KNTS_HOST="192.0.2.1")


@pytest.mark.parametrize("text", ["{", "[{sha256: 1}]", ": : :"])
def test_a_server_does_not_start_with_a_bad_keys_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SettingsError, match="KNTS_KEYS_FILE"):
        gate(KNTS_KEYS_FILE=str(tmp_path / "keys"))


def test_a_server_does_not_start_without_the_keys_file_that_it_names(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KNTS_KEYS_FILE"):
        gate(KNTS_KEYS_FILE=str(tmp_path / "keys"))


class FakeRequest:
    """What the gate looks at of a request."""

    def __init__(self, key: str) -> None:
        self.scope = {"method": "GET"}
        self.client = None
        self.headers = {"authorization": f"Bearer {key}"}
        self.cookies: dict[str, str] = {}


def rewrite(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(at, at))


def test_a_changed_keys_file_counts_at_once_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    rewrite(path, f"- {{sha256: {digest('one')}, tenant: a}}", 1)
    entrance = gate(KNTS_KEYS_FILE=str(path), KNTS_HOST="192.0.2.1")
    assert entrance.principal(FakeRequest("one")).tenant == "a"  # type: ignore[arg-type]
    rewrite(path, "- {", 2)
    assert entrance.principal(FakeRequest("one")).tenant == "a"  # type: ignore[arg-type]
    rewrite(path, f'[{{"sha256": "{digest("two")}", "tenant": "b"}}]', 3)
    assert entrance.principal(FakeRequest("two")).tenant == "b"  # type: ignore[arg-type]
    with pytest.raises(Unauthorized):
        entrance.principal(FakeRequest("one"))  # type: ignore[arg-type]
