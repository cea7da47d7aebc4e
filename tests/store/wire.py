"""A wire to PostgreSQL that can be cut where a test wants it: what goes over it is looked at, and passed on or not.

Only messages that begin where a packet begins are recognised, which is all that one driver on one loopback needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # the simple query of that text


class Wire:
    """One port of the loopback, and the server behind it."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.port = 0
        self.cut: str | None = None  # `before` a COMMIT, or its answer (`after`): once
        self.silent = False  # nothing is passed on any more, and nothing is closed: as in a partition
        self._open: set[asyncio.StreamWriter] = set()

    def through(self, url: str) -> str:
        """Give an address that leads over this wire."""
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")).geturl()

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Pass on what one connection says, both ways."""
        try:
            server, forth = await asyncio.open_connection("127.0.0.1", self.server)
        except OSError:
            back.transport.abort()
            return
        self._open |= {back, forth}
        await asyncio.gather(self._pass(client, forth, self._asked), self._pass(server, back, self._answered))

    def _asked(self, data: bytes) -> bool:
        if _COMMIT in data and self.cut == "before":
            self.cut = None
            return False
        if _COMMIT in data and self.cut == "after":
            self.cut = "answer"
        return True

    def _answered(self, data: bytes) -> bool:
        if self.cut == "answer" and b"COMMIT\x00" in data:
            self.cut = None
            return False
        return True

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, look: Callable[[bytes], bool]
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if self.silent:
                    continue
                if not look(data):
                    self.hang_up()
                    return
                target.write(data)
                await target.drain()
        if not self.silent:
            target.close()

    def hang_up(self) -> None:
        """Cut all connections."""
        for each in self._open:
            each.transport.abort()
        self._open.clear()


@asynccontextmanager
async def wire(server: int) -> AsyncIterator[Wire]:
    """Lay a wire to a server on a port of the loopback."""
    laid = Wire(server)
    listening = await asyncio.start_server(laid.serve, "127.0.0.1", 0)
    laid.port = listening.sockets[0].getsockname()[1]
    try:
        yield laid
    finally:
        listening.close()
        laid.hang_up()
        await listening.wait_closed()
