"""A package that an interrupted installation left in part is seen, and one that is whole is left alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from knts.local.leftovers import forget_parts

RECORD = "thing/__init__.py,,10\nthing/native.so,,4\nthing/__pycache__/__init__.pyc,,\nthing-1.0.dist-info/RECORD,,\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site-packages folder with one package, which is whole; what pip compiles itself has no size in its record."""
    for folder in ("thing", "thing-1.0.dist-info"):
        (tmp_path / folder).mkdir()
    (tmp_path / "thing" / "__init__.py").write_text("import it\n")
    (tmp_path / "thing" / "native.so").write_bytes(b"\x7fELF")
    (tmp_path / "thing-1.0.dist-info" / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
    (tmp_path / "thing-1.0.dist-info" / "RECORD").write_text(RECORD)
    return tmp_path


def test_a_whole_package_stays(site: Path) -> None:
    assert forget_parts(site) == []
    assert (site / "thing-1.0.dist-info").exists()


@pytest.mark.parametrize(
    "cut",
    [
        lambda site: (site / "thing" / "native.so").unlink(),
        lambda site: (site / "thing" / "native.so").write_bytes(b"\x7f"),
        lambda site: (site / "thing-1.0.dist-info" / "RECORD").unlink(),
        lambda site: (site / "thing-1.0.dist-info" / "RECORD").write_text(""),
    ],
    ids=["a file is missing", "a file is cut short", "there is no record", "its record is empty"],
)
def test_a_package_in_part_is_forgotten(site: Path, cut: Callable[[Path], object]) -> None:
    cut(site)
    assert forget_parts(site) == ["thing"]
    assert not (site / "thing-1.0.dist-info").exists()
    assert forget_parts(site) == []
