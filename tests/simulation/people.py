"""The people: they pause, resume, change modes, cancel, approve rightly and wrongly, settle what is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from simulation.history import Known
from simulation.loop import draws
from simulation.rulebook import APPS, PEOPLE

from remediator.engine import Engine, controls
from remediator.engine.controls import Impossible
from remediator.engine.occasions import NotProposed, Occasion
from remediator.errors import StoreError
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Mode, Origin, State

if TYPE_CHECKING:
    from simulation.replica import Replica
    from simulation.world import World

T = TypeVar("T")


class Operator:
    """Whoever operates the daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = draws("people", world.seed)
        self._hashes: list[str] = []  # that were ever asked about
        self._tasks: set[asyncio.Task[Any]] = set()
        world.watch.asked = self._asked

    async def work(self) -> None:
        """Do something now and then, till told to stop."""
        draw, pace = self._draw, self._draw.choice((4.0, 10.0, 30.0, 1000.0))
        while True:
            await asyncio.sleep(draw.expovariate(1 / pace))
            await self._one(draw.random())

    async def _one(self, chance: float) -> None:
        draw, rules = self._draw, self._world.book.rules.rules
        rule = draw.choice((None, draw.choice(rules).name))
        target = draw.choice((None, None, f"app/{draw.choice(APPS)}"))
        if chance < 0.3:
            span = draw.choice((None, 2.0, 6.0, 20.0))
            await self._ask(lambda at: controls.pause(at, "ann", "", rule=rule, target=target, span=span))
        elif chance < 0.42:
            await self._lift(draw.choice(("pause", "pause", "mode", "breaker", "storm")))
        elif chance < 0.6:
            await self._mode(rule, draw.choice(("off", "dry-run", "approve", "approve")))
        elif chance < 0.7:
            await self._by_hand(draw.choice(rules).name)
        elif chance < 0.8:
            await self._ask(self._adopt)
        else:
            await self._order(chance < 0.93)

    async def _adopt(self, at: Engine) -> None:
        rules = self._draw.choice((self._world.book.rules, self._world.book.reloaded))
        await at.adopt(rules, self._world.book.standing, {})

    async def _mode(self, rule: str | None, mode: str) -> None:
        now = self._world.clock.now()
        control = Control(new_id(now), ControlKind.MODE, now, "ann", "", rule=rule, mode=Mode(mode), until=now + 8.0)
        await self._ask(lambda at: controls.lay_mode(at, control))

    async def _by_hand(self, rule: str) -> None:
        labels = {"alertname": "Down", "app": self._draw.choice(APPS)}
        occasion = Occasion(Origin.HAND, labels, "ann", "", drill=self._draw.random() < 0.4)
        await self._ask(lambda at: controls.by_hand(at, rule, occasion))

    async def _lift(self, kind: str) -> None:
        laid = [each.control for each in self._world.watch.controls.of(kind) if each.holds(self._world.clock.now())]
        if laid:
            control = self._draw.choice(laid)
            await self._ask(lambda at: controls.lift(at, control.id, "ann", ""))

    async def _order(self, cancel: bool) -> None:
        some = [
            run for run in self._world.watch.runs.values() if run.state.open and cancel != (run.state is State.UNKNOWN)
        ]
        if some:
            run = self._draw.choice(some)
            if cancel:
                await self._ask(lambda at: controls.cancel(at, run.id, "ann", ""))
            else:
                await self._resolve(run)

    async def _resolve(self, run: Known) -> None:
        outcome = self._draw.choice((State.SUCCEEDED, State.FAILED))
        await self._ask(lambda at: controls.resolve(at, run.id, outcome, "ann", ""))

    # -- approving --

    def _asked(self, run: Known) -> None:
        """Let some people answer, each in their time, some twice, some what they were asked before."""
        draw = self._draw
        assert run.asked is not None
        self._hashes.append(run.asked.plan_hash)
        if self._world.calm:
            return
        for person in draw.choices(PEOPLE[:2] if draw.random() < 0.8 else PEOPLE, k=draw.choice((0, 1, 2, 3, 4))):
            shown = run.asked.plan_hash if draw.random() < 0.8 else draw.choice(self._hashes)
            after = draw.choice((0.0, 0.5, 0.5, 2.0, 4.0, 8.9, 9.5, 12.0))
            task = asyncio.create_task(self._answer(run, person, shown, after))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, run: Known, person: str, shown: str, after: float) -> None:
        await asyncio.sleep(after)
        if self._draw.random() < 0.07:
            await self._ask(lambda at: controls.reject(at, run.id, person, ""))
        else:
            await self._ask(lambda at: controls.approve(at, run.id, shown, person, ""))

    # -- the end --

    async def reload_all(self) -> None:
        """Put the same rules in force everywhere."""
        for replica in self._world.ready:
            await self._ask(lambda at: at.adopt(self._world.book.rules, self._world.book.standing, {}), replica)

    async def clear_up(self) -> None:
        """Lift what is laid, and settle what is unknown."""
        now = self._world.clock.now()
        for laid in list(self._world.watch.controls.by_id.values()):
            if laid.holds(now) and laid.control.run is None:
                control = laid.control.id
                await self._ask(lambda at, control=control: controls.lift(at, control, "ann", ""))
        for run in list(self._world.watch.runs.values()):
            if run.state is State.UNKNOWN:
                await self._resolve(run)

    async def _ask(self, what: Any, replica: Replica | None = None) -> None:
        """Do one thing at one of the replicas; what is refused, fails or gets no answer is let be."""
        ready = self._world.ready
        replica = replica or (self._draw.choice(ready) if ready else None)
        if replica is None or replica.engine is None:
            return
        work: Coroutine[Any, Any, Any] = what(replica.engine)
        task = replica.spawn(work)
        await asyncio.wait({task}, timeout=5.0)
        if task.done() and not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, StoreError | Impossible | NotProposed | KeyError):
                self._world.watch.broken("defect", f"a control was answered by {error!r}")
