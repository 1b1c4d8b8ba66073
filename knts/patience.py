"""uvicorn's HTTP protocol with what it lacks: deadlines, and a size for the head of a request.

A connection that sends nothing, half a request line or header after header is closed, and costs no memory meanwhile.
What is left of a body whose request is answered already is let pass for a moment, and no longer. A connection that is
closed while its client takes nothing is cut, where uvicorn would wait for ever.
"""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from knts.room import SMALL

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 2.0
UNSENT_BYTES = 16 * 1024  # of an answer that its client has not taken: beyond it the writer waits
KERNEL_BYTES = 64 * 1024  # the same in the kernel, which would take a megabyte for each client that reads nothing
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = HEAD_SECONDS
    linger_seconds = LINGER_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _lingering: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None
    _received = 0  # bytes since the head began, while it is not complete: what the parser keeps of it
    _head = 0  # bytes of the head that the parser has told of

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        super().connection_made(Closing(transport, self))  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        for timer in (self._lingering, self._unread, self._leaving):
            if timer is not None:
                timer.cancel()
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
            if self._has_a_large_body():
                self.flow.pause_reading()  # until the app asks for it: a crowd that has to wait shall hold little

    def _has_a_large_body(self) -> bool:
        declared = dict(self.headers)
        length = declared.get(b"content-length", b"")
        return b"transfer-encoding" in declared or (length.isdigit() and int(length) > SMALL)

    def on_body(self, body: bytes) -> None:
        if self._lingering is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._lingering is not None:
            return
        super().on_message_complete()
        if self._unread is not None:  # the rest of a body whose request was answered: from here on it is as any other
            self._unread.cancel()
            self._unread = None
            self._await_head()

    def on_response_complete(self) -> None:
        """An answer may come before the body has: what is on its way is let pass for a while."""
        answered = self.cycle.response_complete  # else a request that came in the same breath, which is next
        super().on_response_complete()
        if answered and self.cycle.more_body and not self.transport.is_closing():
            self._unread = self.loop.call_later(self.linger_seconds, self.transport.close)

    def closing(self, transport: asyncio.Transport) -> None:
        """uvicorn closes the connection: what its client still sends, or does not take, is waited for only so long."""
        if self._lingering is not None or transport.is_closing():
            return
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and self.cycle.more_body and self._unread is None:
            self._linger()
        else:
            transport.close()
            if self._leaving is None:
                self._cut_later(transport)

    def _linger(self) -> None:
        """Close, but not at once: that would reset the connection, and the client might lose the answer."""
        self._head_is_here()
        transport = self.transport.transport  # type: ignore[attr-defined]
        self.flow.resume_reading()
        self._lingering = self.loop.call_later(self.linger_seconds, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()

    def _cut_later(self, transport: asyncio.Transport, before: float = float("inf"), rounds: int = 30) -> None:
        """Cut a closed connection when its client has taken nothing for a while, or takes too long for the rest."""
        unsent = transport.get_write_buffer_size()
        if unsent >= before or rounds == 0:
            transport.abort()
        elif unsent:
            self._leaving = self.loop.call_later(self.linger_seconds, self._cut_later, transport, unsent, rounds - 1)

    def _await_head(self) -> None:
        if self._waiting is None and self._lingering is None:
            self._received = 0
            self._waiting = self.loop.call_later(self.head_seconds, self._give_up)

    def _head_is_here(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self) -> None:
        """Answer 431 and let what is still on its way pass unread for a while."""
        if self._lingering is not None or self.transport.is_closing():
            return
        self.transport.write(TOO_LARGE)
        self._linger()

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()


class Closing:
    """A transport whose `close` is the protocol's to do; everything else is its own."""

    def __init__(self, transport: asyncio.Transport, protocol: PatientProtocol) -> None:
        self.transport = transport
        self.protocol = protocol
        self.write = transport.write  # the one that is called for every word

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        return self.protocol._lingering is not None or self.transport.is_closing()

    def close(self) -> None:
        self.protocol.closing(self.transport)


def patient(seconds: float) -> type[PatientProtocol]:
    """The protocol with another deadline."""
    return type("PatientProtocol", (PatientProtocol,), {"head_seconds": seconds})
