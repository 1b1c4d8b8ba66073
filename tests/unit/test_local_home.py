"""The state folder: one holder, private secrets, ports that stay."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from knts.local.home import LOG_BYTES, Home
from knts.local.process import LocalError


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "deep" / "home"), Home(tmp_path / "deep" / "home")
    with home.locked(), pytest.raises(LocalError, match=rf"process {os.getpid()}\).*KNTS_HOME"), other.locked():
        pass
    with other.locked():
        pass


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="KNTS_HOME"), Home(tmp_path / "file" / "home").locked():
        pass


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = home.secret("signing-key")
    path = tmp_path / "secrets" / "signing-key"
    assert len(made) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert Home(tmp_path).secret("signing-key") == made
    assert home.secret("typesense-key") != made


def test_a_secret_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.secret("signing-key")
    (tmp_path / "secrets" / "signing-key").write_text("")
    (tmp_path / "secrets" / "signing-key.part").write_text("half")
    assert len(home.secret("signing-key")) == 64


def test_ports_stay_while_they_are_free(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = home.ports(["redis", "typesense"])
    home.note_run({"ports": first})
    assert home.ports(["redis", "typesense"]) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["redis"]))
        again = home.ports(["redis", "typesense"])
    assert again["typesense"] == first["typesense"]
    assert again["redis"] != first["redis"]


@pytest.mark.parametrize("cut", ["", "{", "[]", json.dumps({"ports": {"redis": "x"}})])
def test_a_damaged_run_file_is_no_obstacle(tmp_path: Path, cut: str) -> None:
    (tmp_path / "run.json").write_text(cut)
    assert isinstance(Home(tmp_path).ports(["redis"])["redis"], int)


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    home = Home(tmp_path)
    log = home.log("search")
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(LOG_BYTES + 1)
    assert not home.log("search").exists()
    assert (tmp_path / "logs" / "search.log.1").exists()
