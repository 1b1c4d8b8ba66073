"""Publishing to the Broker: signed events, posted in binary content mode to the sink's address."""

import asyncio
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from knts import events, telemetry
from knts.errors import KntsError, Permanent, Temporary, TooLarge
from knts.events import Event

log = logging.getLogger(__name__)

_RETRIED = frozenset({404, 408, 409, 425, 429})  # what a Broker answers while it is being set up or busy


class Publisher:
    """Posts events to one Broker. An async context manager: connections are opened on use and closed on exit.

    `keys` sign every event, document events too, so that the tenant they name holds. `deadline` in seconds bounds one
    `publish` with all its attempts. `token` is a file with the bearer token that the Broker asks for, read for each
    event, since Kubernetes puts a new one there before the old one expires.
    """

    def __init__(
        self,
        sink: str,
        keys: Sequence[str],
        *,
        deadline: float = 5.0,
        connections: int = 64,
        token: Path | None = None,
    ) -> None:
        self.sink = sink
        self._keys = tuple(keys)
        self._token = token
        self._deadline = deadline
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=15),
            timeout=aiohttp.ClientTimeout(total=self._deadline, sock_connect=min(2.0, self._deadline)),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def publish(self, event: Event) -> None:
        """Return once the Broker has the event.

        Raises TooLarge, Permanent for what the Broker refuses, and Temporary when it is gone, slow or busy until the
        deadline. The Broker may hold the event all the same after a Temporary: its reply can be what was lost.
        """
        if len(event.data) > events.MAX_EVENT_BYTES:
            raise TooLarge(f"the event has {len(event.data)} bytes; at most {events.MAX_EVENT_BYTES} are allowed")
        with telemetry.publishing(event) as traced:
            await self._publish(*events.to_http(events.signed(traced, self._keys)), event.type)

    async def _publish(self, headers: dict[str, str], body: bytes, event_type: str) -> None:
        failure: Temporary | None = None
        try:
            async with asyncio.timeout(self._deadline):
                for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
                    try:
                        return await self._post(headers, body)
                    except Temporary as error:
                        failure = error
                        log.info("publishing %s again: %s", event_type, error.detail)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        except TimeoutError:
            pass
        raise failure or Temporary("the Broker did not answer in time", retry_after=1)

    async def _post(self, headers: dict[str, str], body: bytes) -> None:
        if self._session is None:
            raise Temporary("the connection to the Broker is not open")
        if self._token is not None:
            headers = {**headers, "authorization": f"Bearer {self._bearer(self._token)}"}
        try:
            async with self._session.post(self.sink, data=body, headers=headers, allow_redirects=False) as response:
                reply = await response.content.read(700)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Temporary(f"the Broker is not available: {error or type(error).__name__}", retry_after=1) from error
        if response.status >= 300:
            raise refusal(response.status, reply)

    @staticmethod
    def _bearer(file: Path) -> str:
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Temporary(f"the token for the Broker can't be read: {error}", retry_after=1) from error


def refusal(status: int, reply: bytes) -> KntsError:
    """What an error reply of the Broker means to us."""
    said = f"the Broker answered {status}: {reply.decode('utf-8', 'replace')[:300]}"
    if status == 413:
        return TooLarge(said)
    if status in _RETRIED or status >= 500:
        return Temporary(said, retry_after=1)
    return Permanent(said)
