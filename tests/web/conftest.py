"""A daemon's HTTP side over a stage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from stage import Stage, stage_in

from remediator.forms.access import Access
from remediator.receive import Limits
from remediator.web.access import WebhookCredential
from remediator.web.server import make_app
from remediator.web.webhook import Webhook

TOKEN = "local-token"


class Site:
    """A stage, its webhook, and a client for both."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.webhook = Webhook(stage.engine, Limits(), WebhookCredential(), max_body=100_000)
        self.trouble: str | None = None
        self.access = Access()
        app = make_app(stage.engine, self.webhook, TOKEN, lambda: self.trouble, lambda: self.access)
        self.client = TestClient(TestServer(app))

    def give_access(self, proxy: dict[str, object] | None = None, **roles: str) -> None:
        """Put people in force: each has a role, and the token `NAME's token`."""
        users = {
            name: {"role": role, "token": hashlib.sha256(f"{name}'s token".encode()).hexdigest()}
            for name, role in roles.items()
        }
        self.access = Access.model_validate({"users": users} | ({} if proxy is None else {"proxy": proxy}))

    async def api(self, method: str, path: str, *, by: str | None = None, **more: object):
        """Ask with the local token, or with that of a person; `headers` add to it, or replace it."""
        token = TOKEN if by is None else f"{by}'s token"
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        response = await self.client.request(method, f"/api/v1{path}", headers=headers, **more)
        return response.status, await response.json()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site without rules."""
    async with stage_in(tmp_path) as stage:
        made = Site(stage)
        async with made.client:
            yield made
