"""What a GGUF file says about its model: the header's keys and values, without the tokenizer's long lists."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_LIST = 16  # longer lists are the tokenizer's; they are given as None, as Ollama's /api/show does


def metadata(path: Path) -> dict[str, Any]:
    """Key to value (text, number, bool, short list, or None for a long list). Raises ValueError on another format."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ValueError(f"{path} is not a GGUF file")
        version, _tensors, count = _unpack(file, "I"), _unpack(file, "Q"), _unpack(file, "Q")
        if version not in (2, 3):
            raise ValueError(f"{path} has GGUF version {version}; 2 and 3 are known")
        return {_string(file): _value(file, _unpack(file, "I")) for _ in range(count)}


def _unpack(file: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_unpack(file, "Q")).decode("utf-8", errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, length = _unpack(file, "I"), _unpack(file, "Q")
        values = [_value(file, item) for _ in range(length)]
        return values if length <= _MAX_LIST else None
    if kind not in _SCALARS:
        raise ValueError(f"unknown GGUF value type {kind}")
    return _unpack(file, _SCALARS[kind])
