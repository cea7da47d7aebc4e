"""The sender: an Alertmanager and what lies between it and the daemon. It loses, doubles, reorders and delays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from simulation.loop import draws
from simulation.rulebook import APPS, NAMES

from remediator.engine import Overloaded
from remediator.errors import StoreError
from remediator.model.alert import Alert, AlertStatus, Notification
from remediator.model.identity import new_id
from remediator.receive import fingerprint

if TYPE_CHECKING:
    from simulation.world import World


class Sender:
    """Sends notifications, and sends them again until one is acknowledged or it gives up."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = draws("sender", world.seed)
        self._firing: dict[str, Alert] = {}
        self._ever: dict[str, Alert] = {}
        self._count = 0
        self._lossy = self._draw.choice((0.0, 0.0, 0.1, 0.3))
        self._tasks: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Let alerts fire and resolve till told to stop."""
        draw, pace = self._draw, self._draw.choice((1.5, 3.0, 6.0))
        while True:
            await asyncio.sleep(draw.expovariate(1 / pace))
            chance = draw.random()
            if chance < 0.06:
                self._tell([self._fires(NAMES[0], n) for n in range(draw.randint(3, 7))])
            elif chance < 0.72 or not self._firing:
                self._tell(self._some_fire(draw.choice((1, 1, 2, 3))))
            elif chance < 0.92:
                some = draw.sample(sorted(self._firing), min(len(self._firing), draw.choice((1, 1, 3))))
                self._tell([self._resolves(key) for key in some])
            else:
                self._tell(list(self._firing.values()))

    def _some_fire(self, count: int) -> list[Alert]:
        """Let alerts of one name begin, mostly the one that rules are for."""
        name = self._draw.choice((*NAMES, NAMES[0], NAMES[0]))
        return [self._fires(name) for _ in range(count)]

    def _fires(self, name: str, number: int | None = None) -> Alert:
        labels = {"alertname": name, "app": self._draw.choice(APPS)}
        if number is not None:
            labels["number"] = str(number)
        key = fingerprint(labels)
        known = self._firing.get(key)
        if known is not None:
            return known
        alert = Alert(key, AlertStatus.FIRING, labels, {}, self._world.clock.now(), None)
        self._firing[key] = alert
        self._ever[key] = alert
        return alert

    def _resolves(self, key: str) -> Alert:
        firing = self._firing.pop(key)
        ends = self._world.clock.now() if self._draw.random() < 0.8 else None
        return Alert(key, AlertStatus.RESOLVED, firing.labels, {}, firing.starts_at, ends)

    def _tell(self, alerts: list[Alert]) -> None:
        """Send one body, some of them twice, or never."""
        draw = self._draw
        if draw.random() < self._lossy:
            return
        for _ in range(draw.choice((1, 1, 1, 2))):
            after = draw.choice((0.0, 0.0, 0.01, 0.5, 4.0))
            task = asyncio.create_task(self._send(tuple(alerts), after, tries=3))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, alerts: tuple[Alert, ...], after: float, tries: int) -> None:
        await asyncio.sleep(after)
        truncated = self._draw.choice((0, 0, 0, 5))
        for _ in range(tries):
            if await self._deliver(alerts, truncated):
                return
            await asyncio.sleep(self._draw.uniform(0.5, 5.0))

    async def _deliver(self, alerts: tuple[Alert, ...], truncated: int) -> bool:
        """Send one body to one replica. Tells whether it was acknowledged."""
        world, now = self._world, self._world.clock.now()
        if not world.ready:
            return False
        replica = self._draw.choice(world.ready)
        assert replica.engine is not None
        self._count += 1
        body = Notification(new_id(now), now, f"body{self._count}", "{}", {}, truncated, alerts, (), b"")
        world.watch.notifications[body.id] = body
        task = replica.spawn(replica.engine.accept(body))
        done, _ = await asyncio.wait({task}, timeout=10.0)
        if not done:
            return False
        if task.cancelled() or isinstance(task.exception(), StoreError | Overloaded):
            return False
        error = task.exception()
        if error is not None:
            world.watch.broken("defect", f"{body.receiver} could not be taken: {error!r}")
            return False
        world.watch.acknowledged(body)
        return True

    async def resolve_all(self) -> None:
        """Say at last that everything has resolved, till it is heard."""
        for task in self._tasks:
            task.cancel()
        now = self._world.clock.now()
        last = [
            Alert(key, AlertStatus.RESOLVED, each.labels, {}, each.starts_at, now) for key, each in self._ever.items()
        ]
        while last and not await self._deliver(tuple(last), 0):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)
