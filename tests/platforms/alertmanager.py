"""The stand of `alertmanager.*`: the fake, with its clock and ours stopped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fakes.alertmanager import Alertmanager
from platforms.stand import Stand

from remediator.actions.alertmanager import silences

NOON = 1_768_471_200.0  # 2026-01-15T10:00:00Z


def reach(port: int) -> Mapping[str, Any]:
    """Lead to another port."""
    return {"alertmanager": {"url": f"http://127.0.0.1:{port}"}}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start it. Both clocks stand, so that the same request is the same twice."""
    fake = Alertmanager()
    stack.enter_context(patch.object(fake, "now", lambda: NOON))
    stack.enter_context(patch.object(silences, "_now", lambda: NOON))
    fake.reset()
    await stack.enter_async_context(fake)
    ours = next(number for number, each in fake.silences.items() if each["createdBy"] == "remediator")
    return Stand(
        settings={"alertmanager": {"url": fake.url}},
        fake=fake,
        fine={
            (f"alertmanager.{verb}", fault): "a GET on a connection that had been kept is asked again by the client"
            for verb in ("alerts", "silences", "silence", "expire_silence")
            for fault in ("cut", "cut-after")
        },
        reset=fake.reset,
        reach=reach,
        labels={"silence": ours},
        samples={
            "alertmanager.alerts": [{"match": ['alertname=~"{{ labels.alertname }}|Down"', 'app!="{{ labels.app }}"']}],
            "alertmanager.silences": [{"match": 'app="{{ labels.app }}"', "states": ["expired"], "ours": True}, {}],
            "alertmanager.silence": [
                {"match": ['app=~"{{ labels.app }}|shop"', 'severity="critical"'], "for": "1d", "comment": "night"}
            ],
            "alertmanager.expire_silence": [{"id": "{{ labels.silence }}"}],
        },
    )
