"""One replica: an engine in a process of its own, and its way to the store that all share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextvars import copy_context
from random import Random
from typing import Any, Protocol, TypeVar

from asyncpg import IntegrityConstraintViolationError
from simulation.acting import CATALOG, Act, Scripted
from simulation.invariants import Watch
from simulation.loop import PROCESS, Process, SimulationLoop
from simulation.rulebook import LEASE, Book

from remediator.actions.protocol import Outcome
from remediator.engine import Clock, Engine
from remediator.errors import StoreError
from remediator.review.stubs import StubbedSecrets
from remediator.store.protocol import Script
from remediator.store.sqlite import MemoryStore

T = TypeVar("T")


class Faults:
    """How often what goes wrong, of a thousand; all 0: nothing."""

    def __init__(self, draw: Random) -> None:
        def often(*of: int) -> int:
            return draw.choice((0, *of))

        self.draw = draw
        self.slow = often(20, 100)  # a transaction takes a second or more
        self.refused = often(5, 30)  # it fails
        self.untold = often(5, 20)  # it is committed, and its writer is told that it failed
        self.killed = often(3, 10, 30)  # its process is killed, some moments from now
        self.frozen = often(3, 10)  # its process is stopped for a while
        self.away = False  # the store answers nobody

    def cease(self) -> None:
        """Let nothing go wrong any more."""
        self.slow = self.refused = self.untold = self.killed = self.frozen = 0
        self.away = False

    def strikes(self, often: int) -> bool:
        """Draw whether it happens."""
        return often > 0 and self.draw.random() * 1000 < often


class Surroundings(Protocol):
    """What a replica needs of its world."""

    loop: SimulationLoop
    clock: Clock
    book: Book
    store: MemoryStore
    faults: Faults
    watch: Watch
    alone: bool
    seated: str | None  # the worker of the newest daemon, where there is one at a time
    calm: bool

    def note(self, who: str, what: str) -> None:
        """Write a line of the trace."""

    async def play(self, action: Scripted, params: Act, run: str, replica: Replica) -> Outcome:
        """Play one use of an action."""

    def died(self, replica: Replica, error: BaseException | None) -> None:
        """Have it replaced."""


class Replica(Process):
    """One daemon, from its start to its end."""

    def __init__(self, world: Surroundings, number: int) -> None:
        super().__init__()
        self.number = number
        self.name = f"replica{number}"
        self.engine: Engine | None = None  # once it is ready
        self.dead = False
        self.world = world
        self._store = Connection(world, self)
        self._thawed_at = -1.0
        self._context = copy_context()
        self._context.run(PROCESS.set, self)

    def start(self) -> None:
        """Start the daemon."""
        task = self.spawn(self._serve())
        task.add_done_callback(self._ended, context=copy_context())

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in its process."""
        return self.world.loop.create_task(work, context=self._context.copy())

    async def _serve(self) -> None:
        world = self.world
        engine = Engine(self._store, world.clock, CATALOG, StubbedSecrets())
        if world.alone:
            now = world.clock.now()
            await self._store.transact(lambda tx: tx.take_over(now, world.seated))
            world.seated = engine.desk.worker
        await engine.adopt(world.book.rules, world.book.standing, {})
        self.engine = engine
        await engine.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.dead or task.cancelled():
            return
        error = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._die(error)

    def kill(self) -> None:
        """Kill it: nothing of it runs any more."""
        if not self.dead:
            self.world.note(self.name, "is killed")
            self._die(None)

    def stop(self, seconds: float) -> None:
        """Let it end as it does on SIGTERM: what is at work may end, within a bound."""
        if self.engine is not None and not self.engine.desk.draining:
            self.world.note(self.name, f"drains for {seconds:g} s")
            self.spawn(self.engine.drain(seconds)).add_done_callback(lambda task: self.kill(), context=copy_context())

    def _die(self, error: BaseException | None) -> None:
        self.dead = self.stopped = True
        self.engine = None
        self.world.died(self, error)

    def freeze(self, seconds: float) -> None:
        """Stop it for a while; it does not know."""
        if self.dead or self.stopped:
            return
        self.world.note(self.name, f"is frozen for {seconds:.3f} s")
        self.stopped = True
        self.world.loop.call_later(seconds, self.thaw, context=copy_context())

    def thaw(self) -> None:
        """Let it go on."""
        if self.stopped and not self.dead:
            self.world.note(self.name, "goes on")
            self._thawed_at = self.world.clock.now()
            self.world.loop.go_on(self)

    def frozen_since(self, instant: float) -> bool:
        """Tell whether it was stopped at any time since then."""
        return self._thawed_at >= instant

    def endanger(self) -> None:
        """Let it be killed or frozen, some moments from now, as the seed draws."""
        faults = self.world.faults
        if faults.strikes(faults.killed):
            self.after(1 + int(faults.draw.random() ** 2 * 12), self.kill)
        elif faults.strikes(faults.frozen):
            seconds = faults.draw.choice((0.5, 3.0, LEASE + 2.0, 2.5 * LEASE)) * faults.draw.uniform(0.8, 1.2)
            self.after(1 + int(faults.draw.random() ** 2 * 12), lambda: self.freeze(seconds))


class Connection:
    """A replica's way to the store: awaits before and after each transaction, and everything that may go wrong on it."""

    def __init__(self, world: Surroundings, replica: Replica) -> None:
        self.broken: str | None = None
        self._world = world
        self._replica = replica

    async def transact(self, script: Script[T]) -> T:
        """Run a script; committed when this returns, and at times when it doesn't. Raises StoreError."""
        world, faults = self._world, self._world.faults
        await self._on_the_way()
        told = not faults.strikes(faults.untold)
        try:
            value = world.store._run(script)
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError | IntegrityConstraintViolationError):
                world.watch.broken("defect", f"a transaction can never be kept: {error}")
            raise
        world.watch.committed(told=told)
        if not told:
            world.note(self._replica.name, "is not told that its commit was kept")
        await asyncio.sleep(1.0 if faults.strikes(faults.slow) else 0)
        if not told:
            raise StoreError("the connection was lost in COMMIT")
        return value

    async def view(self, script: Script[T]) -> T:
        """Run a reading script. Raises StoreError."""
        await self._on_the_way()
        value = self._world.store._run(script, only_reads=True)
        await asyncio.sleep(0)
        return value

    async def _on_the_way(self) -> None:
        faults = self._world.faults
        self._replica.endanger()
        await asyncio.sleep(faults.draw.choice((0.05, 1.0, 2.5)) if faults.strikes(faults.slow) else 0)
        if faults.away or faults.strikes(faults.refused):
            raise StoreError("the store is away")

    async def close(self) -> None:
        """Nothing is let go of: the store is shared."""
