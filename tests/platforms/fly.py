"""The stand of `fly.*`: the fake, on one port for both of Fly.io's APIs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fakes.fly import TOKEN, FakeFly
from platforms.stand import Stand

from remediator.forms.fly import Fly

MACHINE = "148ed726c15789"
AGAIN = "a read over a connection that was kept is sent again when that is lost"
ACTIONS = (
    "status", "machines", "releases", "logs", "volumes", "restart", "scale", "rollback", "stop", "start", "snapshot",
)  # fmt: skip


def sections(url: str) -> dict[str, Any]:
    """Give the configuration that leads to a URL."""
    form = Fly.model_validate({"token": {"secret": "fly_token"}, "url": url, "api_url": url})
    return {"fly": form.resolved(Path())}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the fake."""
    fake = FakeFly()
    await stack.enter_async_context(fake)
    app = "{{ labels.app }}"
    return Stand(
        settings=sections(fake.url),
        secrets={"fly_token": TOKEN},
        samples={
            "fly.machines": ({"app": app, "region": "fra", "group": "app"},),
            "fly.logs": ({"app": app, "machine": MACHINE, "region": "fra"},),
            "fly.restart": ({"app": app, "machines": [MACHINE], "grace": "20s"}, {"app": app, "group": "app"}),
            "fly.start": ({"app": app, "machines": [MACHINE]}, {"app": app, "group": "app"}),
            "fly.stop": ({"app": app, "machines": [MACHINE]}, {"app": app, "group": "app", "all": True}),
            "fly.scale": ({"app": app, "group": "app", "by": -1}, {"app": app, "to": 3}),
            "fly.snapshot": ({"app": app, "volume": "vol_4y1q8k2p6m3n9x7r"},),
        },
        fake=fake,
        reach=lambda port: sections(f"http://127.0.0.1:{port}"),
        reset=fake.reset,
        fine={(f"fly.{name}", fault): AGAIN for name in ACTIONS for fault in ("cut", "cut-after")},
    )
