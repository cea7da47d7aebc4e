"""What the fakes of platforms share: a port on the loopback, a record of what was asked, and faults on demand.

While a fake serves, `POST /_faults` with a list such as `[{"kind": "status", "status": 429}, null]` says what the next
requests meet (null: nothing), and `GET /_seen` tells what was asked.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from aiohttp import web

RETRY_AFTER = 7  # seconds, of every 429
TEXT_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Fault:
    """What becomes of one request."""

    kind: Literal["status", "hang", "cut", "cut-after", "drip", "garbage"]  # cut-after: done, and the answer is lost
    status: int = 500


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str  # as on the wire, percent-encoded
    query: Sequence[tuple[str, str]]
    headers: dict[str, str] = field(hash=False)  # names in lower case
    body: str = ""

    @property
    def json(self) -> Any:
        """Give the body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Refusal(Exception):
    """Raised by a handler: the platform says no, in its own form."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message or f"status {status}")
        self.status = status


class Fake(ABC):
    """One platform. Subclasses give its routes, its state, and the form of its errors."""

    name: ClassVar[str]
    port: ClassVar[int]  # where `python deploy/fakes` serves it

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: deque[Fault | None] = deque()
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    @abstractmethod
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give what it serves."""

    @abstractmethod
    def error(self, status: int, message: str) -> web.Response:
        """Give an error in the platform's own form."""

    @property
    def files(self) -> Mapping[str, str]:
        """Give the files that its section names, by their names: secrets, and what else it wants."""
        return {}

    @property
    def section(self) -> Mapping[str, Any]:
        """Give its section of the configuration, once it serves; a secret is named as its file is."""
        return {"url": self.url}

    async def start(self, port: int = 0) -> str:
        """Serve on the loopback; gives the URL."""
        application = web.Application(middlewares=[self._between], client_max_size=TEXT_LIMIT)
        application.add_routes([web.post("/_faults", self._set_faults), web.get("/_seen", self._tell_seen)])
        application.add_routes(self.routes())
        self._runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Serve no more."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Fake:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @web.middleware
    async def _between(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path in {"/_faults", "/_seen"}:
            return await handler(request)
        body = (await request.read()).decode(errors="replace")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(
            Seen(request.method, request.raw_path.partition("?")[0], list(request.query.items()), headers, body)
        )
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault.kind != "cut-after":
            return await self._fail(fault, request)
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = self.error(refusal.status, str(refusal))
        except web.HTTPException as error:
            response = self.error(error.status, error.reason)
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return response

    async def _fail(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.kind == "status":
            response = self.error(fault.status, "made to fail")
            if fault.status == 429:
                response.headers["Retry-After"] = str(RETRY_AFTER)
            return response
        if fault.kind == "garbage":
            return web.Response(body=b"<html>\xff\x00 not what was asked {", content_type="application/json")
        if fault.kind == "cut" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if fault.kind == "drip":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            with suppress(ConnectionError):
                while not self._closing.is_set():
                    await response.write(b" ")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), 0.05)
            return response
        await self._closing.wait()
        return web.Response()

    async def _set_faults(self, request: web.Request) -> web.Response:
        self.faults.extend(None if each is None else Fault(**each) for each in await request.json())
        return web.json_response({"faults": len(self.faults)})

    async def _tell_seen(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(each) for each in self.seen])
