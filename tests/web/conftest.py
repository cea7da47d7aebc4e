"""A daemon's HTTP side over a stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from stage import Stage, stage_in

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
        app = make_app(stage.engine, self.webhook, TOKEN, lambda: self.trouble)
        self.client = TestClient(TestServer(app))

    async def api(self, method: str, path: str, **more: object):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = await self.client.request(method, f"/api/v1{path}", headers=headers, **more)
        return response.status, await response.json()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site without rules."""
    async with stage_in(tmp_path) as stage:
        made = Site(stage)
        async with made.client:
            yield made
