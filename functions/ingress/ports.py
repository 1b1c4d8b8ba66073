"""What the ingress handlers need of the world, as protocols: `knts.clients` fulfils them, unit tests fake them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from functions.ingress.standing import Readable
from knts.channel import Frame
from knts.events import Event
from knts.line import Wanted


class Publisher(Protocol):
    """Posts events to the Broker."""

    async def publish(self, event: Event) -> None: ...


class Channel(Protocol):
    """Asks and their frames."""

    async def open(
        self,
        correlation_id: str,
        first: dict[str, Any],
        /,
        *,
        wanted: Wanted | None = None,
        **fields: str | int | float,
    ) -> str | None: ...

    async def append(
        self, correlation_id: str, frame_type: str, data: dict[str, Any], /, *, once: bool = True, **fields: str | float
    ) -> str: ...

    async def answered(
        self, correlation_id: str, frames: Sequence[tuple[str, dict[str, Any]]], /, **fields: str | int | float
    ) -> list[str]: ...

    async def frames(self, stream_key: str) -> Sequence[Frame]: ...

    async def ask(self, correlation_id: str) -> dict[str, str] | None: ...

    async def forget(self, correlation_ids: Iterable[str], within_ms: int = 0) -> None: ...

    async def alive(self, stream_key: str) -> bool: ...


class Follower(Protocol):
    """One waiting client's view of one or two growing streams."""

    def follow(self, stream_key: str, after: str) -> None: ...

    async def read(self, timeout: float) -> Sequence[tuple[str, Frame]]: ...

    def close(self) -> None: ...


class Tailer(Protocol):
    """Reads for all waiting clients of this replica; `now_ms` is Redis' clock."""

    def follower(self) -> Follower: ...

    def now_ms(self) -> int: ...


class Flights(Protocol):
    """The generations that asks follow."""

    async def final(self, flight_id: str) -> dict[str, Any] | None: ...

    async def leave(self, flight_id: str, ask_id: str) -> None: ...

    async def seen(self, flight_id: str, ask_ids: Sequence[str]) -> bool:
        """True where one of them must be published again, since nobody leads the flight."""


class Remembered(Protocol):
    """Finished answers by their fast key."""

    async def recall(self, tenant: str, groups: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer.completed data of an answer that still holds, or None."""


class Models(Protocol):
    """Ollama, as far as its models are listed."""

    async def listed(self) -> Mapping[str, bool]: ...


class Record(Protocol):
    """What is known of a document; `indexed` is the version that searches show, 0 for none."""

    @property
    def document_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def indexed(self) -> int: ...
    @property
    def chunks(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def acl(self) -> tuple[str, ...]: ...
    @property
    def updated(self) -> str: ...
    @property
    def reason(self) -> str: ...

    def readable_by(self, groups: Collection[str]) -> bool: ...


class Records(Protocol):
    """Document records by tenant."""

    async def assign(self, tenant: str, document_id: str, acl: Iterable[str] | None = None) -> int: ...

    async def note_pending(
        self, tenant: str, document_id: str, version: int, acl: Iterable[str] | None = None
    ) -> None: ...

    async def refuse(self, tenant: str, document_id: str, version: int, reason: str) -> str: ...

    async def get(self, tenant: str, document_id: str) -> Record | None: ...

    async def readable(self, tenant: str, groups: Collection[str], ids: Iterable[str]) -> Mapping[str, Readable]: ...

    async def listing(
        self, tenant: str, groups: Collection[str], after: str = "", limit: int = 100
    ) -> tuple[Sequence[Record], str | None]: ...


class Conversations(Protocol):
    """The ids of a conversation's asks, by tenant, owner and id."""

    async def add(self, tenant: str, owner: str, conversation_id: str, ask_id: str) -> None: ...

    async def turns(self, tenant: str, owner: str, conversation_id: str) -> Sequence[str]: ...

    async def forget(self, tenant: str, owner: str, conversation_id: str, ask_ids: Sequence[str]) -> None: ...

    async def delete(self, tenant: str, owner: str, conversation_id: str) -> bool: ...


class Texts(Protocol):
    """Documents' texts, rebuilt from what is indexed."""

    async def text(self, tenant: str, document_id: str, version: int, chunks: int) -> str: ...
