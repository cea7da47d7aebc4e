"""The stand of `prometheus.*`: the fake, with our clock stopped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fakes.prometheus import Prometheus
from platforms.stand import Stand

from remediator.actions.prometheus import queries

NOON = 1_768_471_200.0  # 2026-01-15T10:00:00Z


def reach(port: int) -> Mapping[str, Any]:
    """Lead to another port."""
    return {"prometheus": {"url": f"http://127.0.0.1:{port}"}}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start it."""
    stack.enter_context(patch.object(queries, "_now", lambda: NOON))
    fake = Prometheus()
    await stack.enter_async_context(fake)
    return Stand(
        settings={"prometheus": {"url": fake.url}},
        fake=fake,
        fine={
            (f"prometheus.{verb}", fault): "a GET on a connection that had been kept is asked again by the client"
            for verb in ("targets",)
            for fault in ("cut", "cut-after")
        },
        reset=fake.reset,
        reach=reach,
        labels={"began": "2026-01-15T09:00:00Z", "ended": "2026-01-15T09:30:00+00:00"},
        samples={
            "prometheus.query": [{"query": "up{instance=~'{{ labels.instance }}|x', job=`{{ labels.service }}`}"}],
            "prometheus.query_range": [{"query": "up", "from": "{{ labels.began }}", "to": "{{ labels.ended }}"}],
        },
    )
