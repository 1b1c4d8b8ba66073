"""`python -m tests.knative.forward PORT TO`: passes connections to a port on to another of this machine.

Knative's channel dispatcher binds 8080, whatever it is told, and is called at its Service's port 80. In a cluster
kube-proxy does this.
"""

import asyncio
import contextlib
import sys


async def pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(ConnectionError):  # whoever went takes the other side along
        while data := await source.read(65536):
            into.write(data)
            await into.drain()
    with contextlib.suppress(OSError):
        into.write_eof()


async def main(port: int, to: int) -> None:
    """Forward until killed."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to)
            except ConnectionRefusedError:
                return  # not up yet: the caller sees a connection that is closed, and tries again
            with contextlib.closing(inner_writer):
                await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))

    server = await asyncio.start_server(connected, "0.0.0.0", port)  # noqa: S104 - of the pod's own network
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
