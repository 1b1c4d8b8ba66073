"""A cursor through parsed YAML that refuses what it does not know by file and field."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

_DURATION = re.compile(
    r"P(?=[\dT])(?:(?P<W>\d+(?:\.\d+)?)W)?(?:(?P<D>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<H>\d+(?:\.\d+)?)H)?(?:(?P<M>\d+(?:\.\d+)?)M)?(?:(?P<S>\d+(?:\.\d+)?)S)?)?\Z",
    re.ASCII,
)
_UNITS = {"W": 604800.0, "D": 86400.0, "H": 3600.0, "M": 60.0, "S": 1.0}


class ManifestError(Exception):
    """One or more manifests can't be used; the message names each by file and field."""


@dataclass(frozen=True)
class Field:
    """A value in a YAML document, with the file and the path that lead to it. A missing one has the value None."""

    file: str
    path: str
    value: Any

    def refuse(self, rule: str) -> NoReturn:
        """Raises ManifestError naming this field."""
        raise ManifestError(f"{self.file}: {self.path or 'document'}: {rule}")

    def __getitem__(self, name: str) -> "Field":
        path = f"{self.path}.{name}" if self.path else name
        return Field(self.file, path, self.mapping().get(name))

    def __bool__(self) -> bool:
        return self.value is not None

    def mapping(self) -> dict[str, Any]:
        """The value as a mapping with text keys; a missing one is empty."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict) or not all(isinstance(name, str) for name in self.value):
            self.refuse("must be a mapping")
        return self.value

    def only(self, *allowed: str) -> "Field":
        """Itself, where it has none but these keys."""
        for name in self.mapping():
            if name not in allowed:
                self[name].refuse(f"is not supported here; known are {', '.join(sorted(allowed))}")
        return self

    def items(self) -> Iterator["Field"]:
        """The elements of a list; a missing one is empty."""
        if self.value is not None and not isinstance(self.value, list):
            self.refuse("must be a list")
        for index, value in enumerate(self.value or ()):
            yield Field(self.file, f"{self.path}[{index}]", value)

    def text(self, default: str | None = None) -> str:
        """A non-empty text."""
        value = default if self.value is None else self.value
        if not isinstance(value, str) or not value:
            self.refuse("is required and must be a text" if value is None else f"must be a text, not {value!r}")
        return value

    def one_of(self, allowed: Collection[str], default: str | None = None) -> str:
        """A text out of a few."""
        if (value := self.text(default)) not in allowed:
            self.refuse(f"{value!r} is not supported; known are {', '.join(sorted(allowed))}")
        return value

    def whole(self, default: int, least: int = 0) -> int:
        """A whole number."""
        value = default if self.value is None else self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.refuse(f"must be a whole number of at least {least}, not {value!r}")
        return value

    def duration(self, default: float) -> float:
        """An ISO 8601 duration such as PT0.2S, in seconds."""
        if self.value is None:
            return default
        found = _DURATION.match(self.text())
        if not found:
            self.refuse(f"must be an ISO 8601 duration such as PT0.2S, not {self.value!r}")
        return sum(float(number) * _UNITS[unit] for unit, number in found.groupdict("0").items())
