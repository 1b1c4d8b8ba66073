"""The GGUF header is read; other files are refused."""

import struct
from pathlib import Path
from typing import Any

import pytest

from knts.local.model import gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def written(tmp_path: Path, *entries: bytes, version: int = 3) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + b"".join(entries))
    return path


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (4, struct.pack("<I", 8192), 8192),
        (5, struct.pack("<i", -1), -1),
        (6, struct.pack("<f", 0.5), 0.5),
        (7, b"\x01", True),
        (8, text("llama"), "llama"),
        (9, struct.pack("<IQ", 4, 2) + struct.pack("<II", 1, 2), [1, 2]),
        (9, struct.pack("<IQ", 8, 20) + text("x") * 20, None),
    ],
)
def test_values(tmp_path: Path, kind: int, value: bytes, read: Any) -> None:
    path = written(tmp_path, entry("before", kind, value), entry("after", 8, text("still in step")))
    assert gguf.metadata(path) == {"before": read, "after": "still in step"}


@pytest.mark.parametrize("version", [1, 4])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}"):
        gguf.metadata(written(tmp_path, version=version))


def test_other_files_and_types_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="not a GGUF file"):
        gguf.metadata(other)
    with pytest.raises(ValueError, match="value type 77"):
        gguf.metadata(written(tmp_path, entry("k", 77, b"")))
