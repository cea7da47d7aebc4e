"""A port of the loopback that behaves as networks and broken servers do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

BROKEN = ("refused", "hang", "cut", "garbage")


@asynccontextmanager
async def broken_port(kind: str) -> AsyncIterator[int]:
    """Give a port: nobody listens there, or one who never answers, hangs up, or talks nonsense."""
    with closing(socket.socket()) as place:
        place.bind(("127.0.0.1", 0))  # without listening: a connection is refused, and nobody else gets the port
        if kind == "refused":
            yield place.getsockname()[1]
            return

    done = asyncio.Event()
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with closing(writer), suppress(ConnectionError):
            if kind == "cut":
                writer.transport.abort()
            elif kind == "garbage":
                writer.write(b"\x00\xff\xfe{nonsense <html>\r\n\r\n" * 20)
                await writer.drain()
            else:
                await done.wait()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        done.set()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*talking, return_exceptions=True)
