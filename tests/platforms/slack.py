"""The stand of `slack.*`: the fake, with the channel and the message that the examples name."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fakes.slack import CHANNEL, TOKEN, TS, FakeSlack
from platforms.stand import Stand

from remediator.forms.slack import Slack


def sections(url: str) -> dict[str, Any]:
    """Give the configuration that leads to a URL."""
    form = Slack.model_validate({"token": {"secret": "slack_token"}, "channel": "#ops", "url": url})
    return {"slack": form.resolved(Path())}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the fake."""
    fake = FakeSlack()
    await stack.enter_async_context(fake)
    reply = {"channel": CHANNEL, "text": "{{ annotations.summary }}", "thread_ts": TS}
    return Stand(
        settings=sections(fake.url),
        secrets={"slack_token": TOKEN},
        samples={
            "slack.post": ({"text": "{{ labels.app }}"}, reply, {"channel": "#{{ labels.app }}", "text": "Hello"}),
            "slack.update": ({"channel": CHANNEL, "ts": TS, "text": "{{ labels.app }}"},),
        },
        steps={"said": {"ok": True, "result": {"channel": CHANNEL, "ts": TS}}},
        fake=fake,
        reach=lambda port: sections(f"http://127.0.0.1:{port}"),
        reset=fake.reset,
    )
