"""Lagging: how late the loop comes to what is due, which everyone on it has to wait beside their own work."""

from __future__ import annotations

import asyncio

from remediator import metrics

_EVERY = 0.1  # seconds between two looks: a stop that is shorter is seen in part


async def watch_lag() -> None:
    """Measure it, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))
