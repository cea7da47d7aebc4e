"""The stand of `http.*`: a server on the loopback that answers for `*.internal`, and tells what it was asked."""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web
from fakes.fake import Fake, Refusal
from platforms.stand import Stand

TOKEN = "dtok_4f8a2c9e71"
SIGNING_KEY = "whsec_b0c3d5e7f9"


class Target(Fake):
    """A service with a health page, a deployment behind a token, and a hook that wants its bodies signed."""

    name = "target"
    port = 8080

    def reset(self) -> None:
        """Forget nothing: it holds no state."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give what it serves."""
        return [
            web.get("/health", self._health),
            web.post("/api/rollback", self._rollback),
            web.post("/hook", self._hook),
            web.put("/{path:.*}", self._accept),
        ]

    def error(self, status: int, message: str) -> web.Response:
        """Give the common form."""
        return web.json_response({"error": message}, status=status)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _rollback(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "the token is wrong")
        return web.json_response({"accepted": True}, status=202)

    async def _hook(self, request: web.Request) -> web.Response:
        expected = hmac.new(SIGNING_KEY.encode(), await request.read(), hashlib.sha256).hexdigest()
        if request.headers.get("X-Hub-Signature-256") != f"sha256={expected}":
            raise Refusal(403, "the signature is wrong")
        self.seen[-1].headers["x-hub-signature-256"] = "that of the body"  # each body has another
        return web.json_response({"accepted": True})

    async def _accept(self, request: web.Request) -> web.Response:
        return web.json_response({"accepted": True})


class Names:
    """A name server under which everything in `internal` is one port of the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        """Answer as `getaddrinfo` does."""
        if str(host).endswith(".internal"):
            host, port = "127.0.0.1", self.port
        return self._real(host, port, *more, **named)

    def reach(self, port: int) -> Mapping[str, Any]:
        """Lead to another port, which no part of the configuration names."""
        self.port = port
        return {}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start it."""
    fake = Target()
    await stack.enter_async_context(fake)
    names = Names(int(fake.url.rpartition(":")[2]))
    stack.enter_context(patch.object(socket, "getaddrinfo", names))
    everywhere = {
        "url": "http://web.internal:8080/{{ labels.app }}/of?at={{ labels.instance }}", "method": "PUT",
        "headers": {"X-App": "for {{ labels.app }}"}, "query": {"pod": "{{ labels.pod }}"},
    }  # fmt: skip
    signed = {"key": {"secret": "signing_key"}, "header": "X-Hub-Signature-256", "prefix": "sha256="}
    return Stand(
        settings={"http": {"allow": ["*.internal"], "private": ["*.internal"]}},
        secrets={"deploy_token": TOKEN, "signing_key": SIGNING_KEY},
        hosts=("*.internal",),
        samples={
            "http.get": [
                {
                    "url": "http://web.internal:8080/health?for={{ labels.app }}",
                    "headers": {"X-App": "for {{ labels.app }}"},
                    "query": {"pod": "{{ labels.pod }}", "n": 2},
                }
            ],
            "http.request": [
                {**everywhere, "form": {"app": "{{ labels.app }}"}},
                {**everywhere, "body": "restart {{ labels.app }}, please"},
                {**everywhere, "json": ["{{ labels.app }}", "of {{ labels.namespace }}"]},
                {"url": "http://hooks.internal/hook", "json": {"app": "web"}, "sign": signed},
            ],
        },
        fake=fake,
        reach=names.reach,
        alone=True,
        reset=fake.reset,
        fine={
            ("http.get", status): "any status is an answer to a GET: `expect` says which is good"
            for status in ("401", "403", "404", "409", "422", "429", "500")
        }
        | {
            ("http.get", "garbage"): "what is no JSON is a body, too",
            ("http.get", "cut"): "a GET on a connection that had been kept is asked again by the client",
            ("http.get", "cut-after"): "a GET on a connection that had been kept is asked again by the client",
            ("http.request", "garbage"): "with a status of 200 it was taken; what the body says is for the rule",
        },
    )
