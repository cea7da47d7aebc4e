"""What commands are typed into: an empty folder, and a stage that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from cli.keyboard import RULE
from stage import Stage, stage_in

from remediator.forms.access import Access
from remediator.receive import Limits
from remediator.web.access import WebhookCredential
from remediator.web.server import make_app
from remediator.web.webhook import Webhook


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in an empty folder, without variables."""
    for name in ("REMEDIATOR_CONFIG", "REMEDIATOR_URL", "REMEDIATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def access() -> list[Access]:
    """Who may ask beside the holder of the local token: the only entry is in force, and may be replaced."""
    return [Access()]


@pytest.fixture
async def stage(tmp_path: Path, access: list[Access]) -> AsyncIterator[Stage]:
    """A stage that listens, with its token where the command line looks for it."""
    async with stage_in(tmp_path) as started:
        webhook = Webhook(started.engine, Limits(), WebhookCredential(), 1000)
        server = TestServer(make_app(started.engine, webhook, "the-token", lambda: None, lambda: access[0]))
        await server.start_server()
        Path("remediator.yml").write_text(f"listen: 127.0.0.1:{server.port}\nstate: {tmp_path}\n")
        Path("token").write_text("the-token\n")
        await started.rules(
            RULE.replace("exec.run", "test.write").replace("argv: [/bin/true, '{{ labels.app }}']", "says: x")
        )
        yield started
        await server.close()
