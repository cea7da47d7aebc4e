"""The world of a rule test: the daemon's own engine over a store in memory, in virtual time, with every action stubbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.engine import Engine, Standing
from remediator.model.time import Timestamp
from remediator.review.stubs import StubbedSecrets
from remediator.review.virtual import VirtualClock, VirtualLoop
from remediator.rules.rule import RuleSet
from remediator.store.sqlite import MemoryStore, open_memory


class World:
    """An engine at work. It runs on a `VirtualLoop`; whoever has it says how far time goes."""

    def __init__(self, loop: VirtualLoop, store: MemoryStore, catalog: Catalog) -> None:
        self.loop = loop
        self.store = store
        self.engine = Engine(store, VirtualClock(loop), catalog, StubbedSecrets())
        self._work = asyncio.create_task(self.engine.run())

    async def next(self) -> Timestamp | None:
        """Let everything happen that can at this instant, and say when something can next: None for never.

        Between now and then the daemon would only look, idly, whether it has missed something. Raises what stops the engine.
        """
        await self.loop.calm()
        if self._work.done():
            self._work.result()
        due = await self.store.view(lambda tx: tx.next_due())
        if self.engine.workers.tasks or (due is not None and due <= self.loop.time()):
            return self.loop.next_timer  # a step is at work, or what is due was left for the next look
        return due

    async def until(self, end: Timestamp) -> None:
        """Let time pass until that instant. What is due at it has not happened yet: it comes after what happens then."""
        while (due := await self.next()) is not None and due < end:
            self.loop.jump(due)
        self.loop.jump(end)

    async def end(self) -> None:
        """End the engine where it is, and forget everything."""
        tasks = (self._work, *self.engine.workers.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.store.close()


@asynccontextmanager
async def open_world(
    catalog: Catalog, rules: RuleSet, standing: Standing, settings: Mapping[str, Any]
) -> AsyncIterator[World]:
    """Give a world in which these rules are in force. It begins at the loop's instant."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError("a world needs virtual time: run this by `run_virtual`")
    world = World(loop, open_memory(), catalog)
    try:
        await world.engine.adopt(rules, standing, settings)
        yield world
    finally:
        await world.end()
