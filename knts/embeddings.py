"""What is known of passages' embeddings: how they are written down, named and compared. Pure.

An embedding is a list of numbers of length 1 that a model makes of a text; texts that mean much the same have
embeddings whose product is near 1. Those of one model say nothing beside those of another.
"""

import base64
import math
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

Vector = Sequence[float]

STEPS = 400  # that a packed number counts to 1; what goes beyond a byte with its sign is cut, and seldom is there any
BYTE = 127
SCALE = 10_000  # of the numbers that the index holds: what is rounded off is less than a model's own rounding
_NAME = re.compile(r"(?P<alias>.+)_vectors_(?P<dimension>\d+)_(?P<model>.+)\Z", re.DOTALL)
_ESCAPED = re.compile("_([0-9a-f]{2})")


@dataclass(frozen=True)
class Model:
    """The model that made embeddings, and how many numbers they have."""

    name: str
    dimension: int


@dataclass(frozen=True)
class Meaning:
    """A text's embedding, and the model that made it."""

    model: Model
    vector: Vector


@dataclass(frozen=True)
class Near:
    """A passage near a question: its id, the product of both embeddings, and its own, packed."""

    chunk_id: str
    likeness: float
    packed: bytes


@dataclass(frozen=True)
class Nearest:
    """The passages nearest to a question, the nearest first, of `among` that have an embedding."""

    passages: Sequence[Near]
    among: int


def collection_name(alias: str, model: Model) -> str:
    """The name of the collection of a model's embeddings; `model_of` reads the model from it."""
    safe = "".join(char if re.match(r"[A-Za-z0-9.-]", char) else _escaped(char) for char in model.name)
    return f"{alias}_vectors_{model.dimension}_{safe}"


def _escaped(char: str) -> str:
    return "".join(f"_{byte:02x}" for byte in char.encode())


def model_of(name: str) -> Model | None:
    """The model whose embeddings a collection holds, or None for another collection."""
    if not (found := _NAME.match(name)):
        return None
    raw = b"".join(
        bytes.fromhex(part) if at % 2 else part.encode() for at, part in enumerate(_ESCAPED.split(found["model"]))
    )
    return Model(raw.decode("utf-8", "replace"), int(found["dimension"]))


def embedded_text(chunk: Mapping[str, Any]) -> str:
    """What a passage's embedding is made of: where it stands, and its text."""
    return ". ".join(part for part in (chunk.get("title", ""), chunk.get("section", ""), chunk["text"]) if part)


def normalised(vector: Vector) -> list[float]:
    """The vector at length 1; one of length 0 stays."""
    length = math.sqrt(product(vector, vector)) or 1.0
    return [each / length for each in vector]


def rounded(vector: Vector) -> list[int]:
    """As the index holds it: `SCALE` times as long, which changes no angle; Typesense reads whole numbers faster."""
    return [round(each * SCALE) for each in vector]


def packed(vector: Vector) -> str:
    """A vector of length 1 as short text, a byte for each number."""
    steps = (max(-BYTE, min(BYTE, round(each * STEPS))) for each in vector)
    return base64.b64encode(array("b", steps).tobytes()).decode()


def unpacked(packed: bytes) -> Vector:
    """A packed vector, `STEPS` times as long as it was: whole numbers, since that is faster."""
    return memoryview(packed).cast("b")


def likeness(vector: Vector, packed: bytes) -> float:
    """The product of a vector of length 1 and a packed one of the same model: near 1 where both mean much the same.

    What was cut of a number when it was packed does not count.
    """
    return product(vector, unpacked(packed)) / STEPS


def product(one: Vector, other: Vector) -> float:
    """The scalar product."""
    return float(sum(map(mul, one, other)))


def moved(vector: Vector, pulls: Iterable[tuple[float, Vector]]) -> list[float]:
    """The vector of length 1, pulled towards others by so much of each; at length 1 again."""
    weights, others = zip((1.0, vector), *pulls, strict=True)
    return normalised([product(weights, each) for each in zip(*others, strict=True)])
