"""Server-sent events out of a stream's bytes, however they are cut. Source: the HTML standard, "Server-sent events"."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerEvent:
    """One event; `id` is the last id seen in the stream."""

    id: str
    type: str
    data: str


class Splitter:
    """Turns chunks of a stream into its events; comments (heartbeats) and unfinished events give nothing."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._first = True
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that this chunk completes."""
        self._rest += self._decoder.decode(chunk)
        if self._first and self._rest:
            self._rest, self._first = self._rest.removeprefix("\ufeff"), False
        while (line := self._line()) is not None:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                yield event

    def _line(self) -> str | None:
        """The next whole line without its end; a final CR waits, since an LF may follow it."""
        for at, character in enumerate(self._rest):
            if character == "\n" or (character == "\r" and at + 1 < len(self._rest)):
                line = self._rest[:at]
                self._rest = self._rest[at + (2 if self._rest[at : at + 2] == "\r\n" else 1) :]
                return line
        return None

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> ServerEvent | None:
        data, event_type = self._data, self._type or "message"
        self._data, self._type = [], ""
        return ServerEvent(self._id, event_type, "\n".join(data)) if data else None
