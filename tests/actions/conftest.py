"""What the tests of actions share: a context to run in, and servers on the loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from remediator.actions.protocol import Context, Resources


@pytest.fixture
async def context() -> AsyncIterator[Callable[..., Context]]:
    """Make contexts: settings, secrets and seconds to the deadline are the caller's."""
    resources = Resources()

    def make(settings: Mapping[str, Any] = {}, secrets: Mapping[str, str] = {}, seconds: float = 10.0) -> Context:
        deadline = asyncio.get_running_loop().time() + seconds
        return Context(deadline, settings, secrets.__getitem__, run="01jd", resources=resources)

    yield make
    await resources.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start servers that give every request to one handler; gives the server's URL."""
    async with AsyncExitStack() as stack:

        async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", handler)
            server = await stack.enter_async_context(TestServer(application))
            return str(server.make_url("")).rstrip("/")

        yield start


class Announcement:
    """A named pipe by which a child says that it has come to a place: `echo WORD > PATH`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Read and write: with a writer of our own it is never at its end between two words.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    async def heard(self) -> str:
        """Wait till something was written, and give it."""
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self._descriptor, lambda: readable.done() or readable.set_result(None))
        try:
            async with asyncio.timeout(10):
                await readable
        finally:
            loop.remove_reader(self._descriptor)
        return os.read(self._descriptor, 1000).decode().strip()

    def close(self) -> None:
        """Close the reading end."""
        os.close(self._descriptor)


@pytest.fixture
def announcement(tmp_path: Path):
    """Give a named pipe to wait at."""
    made = Announcement(tmp_path / "announcement")
    yield made
    made.close()
