"""A fake for `notify.send`: where Apprise's `json://` posts its messages (appriseit.com/services/json).

The channel's URL is `json://USER:PASSWORD@127.0.0.1:PORT/inbox`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from fakes.fake import Fake, Refusal

USER, PASSWORD = "remediator", "fake-inbox-password"


class FakeInbox(Fake):
    """An inbox for messages."""

    name = "notify"
    port = 9405

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []

    def reset(self) -> None:
        """Make it as it was at the start."""
        self.messages.clear()

    @property
    def channel(self) -> str:
        """Give the URL that Apprise takes."""
        return f"json://{USER}:{PASSWORD}@{self.url.partition('//')[2]}/inbox"

    @property
    def files(self) -> Mapping[str, str]:
        """Give the secrets."""
        return {"inbox-url": f"json://{USER}:{PASSWORD}@{self.url.removeprefix('http://')}/inbox"}

    @property
    def section(self) -> Mapping[str, Any]:
        """Lead here."""
        return {"channels": {"oncall": {"secret": "inbox-url"}}}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the place where messages are posted."""
        return [web.post("/inbox", self._take)]

    def error(self, status: int, message: str) -> web.Response:
        """Give an error as a plain server does."""
        return web.json_response({"error": message}, status=status)

    async def _take(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}":
            raise Refusal(401, "the user or the password is wrong")
        try:
            message = json.loads(await request.text())
        except ValueError:
            raise Refusal(400, "the body is no JSON") from None
        if not isinstance(message, dict) or not {"version", "title", "message", "type"} <= set(message):
            raise Refusal(422, "the message lacks one of version, title, message and type")
        self.messages.append(message)
        return web.json_response({"received": len(self.messages)})
