"""The joined Typesense binary is whole or joined again, whatever happened before."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from knts.local import typesense_binary as joining
from knts.local.process import LocalError
from knts.local.typesense_binary import typesense_binary


@pytest.fixture
def halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two small halves in place of the 338 MB; the last test takes the real ones."""
    paths = [tmp_path / "one.bin", tmp_path / "two.bin"]
    for path, content in zip(paths, (b"#!/bin/sh\n", b"echo joined\n"), strict=True):
        path.write_bytes(content)
    digests = {str(path): joining._copy(path, len) for path in paths}
    monkeypatch.setattr(joining, "_half", lambda _package, name: (Path(name), digests[name]))
    monkeypatch.setattr(joining, "HALVES", tuple(("a-package", str(path)) for path in paths))
    return paths


def test_it_is_joined_once(halves: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    binary = typesense_binary(tmp_path / "bin", said.append)
    assert subprocess.check_output([binary]) == b"joined\n"
    first = binary.stat().st_ino
    assert typesense_binary(tmp_path / "bin", said.append).stat().st_ino == first
    assert len(said) == 1


@pytest.mark.parametrize("damage", ["truncated", "not executable", "a leftover part"])
def test_what_an_interrupted_start_left_is_repaired(halves: list[Path], tmp_path: Path, damage: str) -> None:
    binary = typesense_binary(tmp_path / "bin")
    if damage == "truncated":
        binary.write_bytes(b"#!/bin/sh\n")
    elif damage == "not executable":
        binary.chmod(0o644)
    else:
        binary.rename(binary.with_name(".typesense-server-part"))
    assert subprocess.check_output([typesense_binary(tmp_path / "bin")]) == b"joined\n"
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["typesense-server", "typesense-server.lock"]


def test_a_damaged_half_is_named_and_nothing_is_left(halves: list[Path], tmp_path: Path) -> None:
    halves[1].write_bytes(b"echo forged\n")
    with pytest.raises(LocalError, match=r"two\.bin is damaged"):
        typesense_binary(tmp_path / "bin")
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["typesense-server.lock"]


def test_a_folder_that_can_not_be_written_is_named(halves: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bin").write_text("a file")
    with pytest.raises(LocalError, match="can't be unpacked"):
        typesense_binary(tmp_path / "bin")


JOIN = """
import pathlib, sys
from knts.local.typesense_binary import typesense_binary
print(typesense_binary(pathlib.Path(sys.argv[1])))
"""


def test_two_starts_at_once_both_get_the_real_binary(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2 << 30:
        pytest.skip("needs 1 GB of disk")
    command = [sys.executable, "-c", JOIN, str(tmp_path / "bin")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    paths = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0]
    (path,) = paths
    told = subprocess.run([path], capture_output=True, text=True, timeout=30, check=False)
    assert "Data directory is not specified" in told.stdout + told.stderr
    Path(path.decode()).unlink()  # 338 MB, which pytest would keep for three sessions
