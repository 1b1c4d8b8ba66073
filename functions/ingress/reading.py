"""What a client reads of an answer: frames of the ask and of its flight become one sequence of events. Pure.

The ask's own frames come first; with `joined` the flight's frames follow. An event's position names both streams, so
that whoever comes back with it gets exactly the rest.
"""

from dataclasses import dataclass, field
from typing import Any

from knts import channel
from knts.channel import Frame, Position

START = "0"
JOINED = "0-0"  # the flight's beginning too, but told apart: `joined` was read, so it need not be met again
_NEVER = f"{2**64 - 1}-{2**64 - 1}"
ENDED = Position(_NEVER, _NEVER)  # whoever has read the last event gets nothing more, whatever is still written


@dataclass
class Reading:
    """One client's way through the frames of an ask; `ended` once it has passed the last one."""

    ask_id: str
    position: Position
    flight: str | None = None
    ended: bool = field(init=False)

    def __post_init__(self) -> None:
        self.ended = self.position == ENDED

    def resume(self, flight: str | None) -> None:
        """Follow the flight at once where the position is beyond `joined`."""
        if flight and self.position.flight != START:
            self.flight = flight

    def streams(self) -> dict[str, str]:
        """The streams to read, each with the entry id to read after; the ask's first."""
        keys = {channel.frames_key(self.ask_id): self.position.ask}
        if self.flight:
            keys[channel.flow_key(self.flight)] = self.position.flight
        return keys

    def take(self, stream_key: str, frame: Frame) -> tuple[str, str, dict[str, Any]] | None:
        """The event of the next frame: its position, type and data; None for what follows the end."""
        if self.ended:
            return None
        if stream_key == channel.frames_key(self.ask_id):
            self._take_own(frame)
        else:
            self.position = Position(self.position.ask, frame.id)
        if frame.last:
            self.finish()
        return self.position.token(), frame.type, frame.data

    def finish(self) -> str:
        """Nothing follows; the position of the end."""
        self.ended, self.position = True, ENDED
        return self.position.token()

    def _take_own(self, frame: Frame) -> None:
        self.position = Position(frame.id, self.position.flight)
        if frame.type == channel.JOINED and self.flight is None:
            self.flight = str(frame.data["flight"])
            self.position = Position(frame.id, JOINED)
