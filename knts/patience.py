"""uvicorn's HTTP protocol with what it lacks: a deadline and a size for the head of a request.

A connection that sends nothing, half a request line or header after header is closed, and costs no memory meanwhile.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 2.0
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = HEAD_SECONDS
    linger_seconds = LINGER_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _lingering: asyncio.TimerHandle | None = None
    _received = 0  # bytes since the head began, while it is not complete: what the parser keeps of it
    _head = 0  # bytes of the head that the parser has told of

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes count until the head is complete; a body's bytes have limits of their own."""
        if self._lingering is not None:
            return
        if self._waiting is not None:
            self._received += len(data)
        super().data_received(data)
        if self._waiting is not None and self._received > HEAD_BYTES:
            self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head may be complete in one piece and too large all the same."""
        self._head_is_here()
        if self._head > HEAD_BYTES:
            self._refuse()
        if self._lingering is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._lingering is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._lingering is None:
            super().on_message_complete()

    def _await_head(self) -> None:
        if self._waiting is None and self._lingering is None:
            self._received = 0
            self._waiting = self.loop.call_later(self.head_seconds, self._give_up)

    def _head_is_here(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self) -> None:
        """Answer 431 and let what is still on its way pass unread for a while.

        Closing at once would reset the connection, and the client might lose the answer.
        """
        self._head_is_here()
        if self._lingering is not None or self.transport.is_closing():
            return
        self._lingering = self.loop.call_later(self.linger_seconds, self.transport.close)
        self.transport.write(TOO_LARGE)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()


def patient(seconds: float) -> type[PatientProtocol]:
    """The protocol with another deadline."""
    return type("PatientProtocol", (PatientProtocol,), {"head_seconds": seconds})
