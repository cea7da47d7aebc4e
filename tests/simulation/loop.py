"""The loop of a simulation: virtual time, a seeded order, and processes that can be killed or frozen at any await."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from remediator.review.virtual import VirtualLoop


def draws(*of: object) -> random.Random:
    """Give what draws the same each time, for one part of one world: what one part draws changes no other."""
    return random.Random(" ".join(map(str, of)))  # noqa: S311 - it has to be repeatable


_MOST = 50_000  # callbacks at one instant


class Livelock(RuntimeError):
    """Something is done again and again, and waits for nothing."""


class Process:
    """What runs as one process: everything that was called in its context. It knows nothing of its being stopped.

    To kill it is to run nothing of it any more, as `kill -9` would: no handler of a cancellation has its say.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.held: list[asyncio.Handle] = []  # what would have run since it was stopped
        self._moments = 0  # callbacks of its own that it has left, where something was set upon it
        self._then: Callable[[], None] | None = None

    def after(self, moments: int, then: Callable[[], None]) -> None:
        """Do something to it, between two of its awaits: when so many callbacks of its own have run."""
        self._moments, self._then = moments, then

    def passes_moment(self) -> None:
        """Count one callback."""
        if self._then is not None:
            self._moments -= 1
            if self._moments <= 0:
                then, self._then = self._then, None
                then()


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class SimulationLoop(VirtualLoop):
    """A virtual loop that draws what runs next by a seed, and holds back what belongs to a process that is stopped."""

    def __init__(self, start: float, seed: int) -> None:
        super().__init__(start)
        self._draw = draws("order", seed).random
        self._instant, self._callbacks = start, 0

    def _run_once(self) -> None:
        self._ripen()
        if not self._ready and not self._stopping:
            self._pass()
            self._ripen()
        if not self._ready:
            return
        if len(self._ready) > 1:
            self._ready.rotate(-int(self._draw() * len(self._ready)))
        self._callbacks = self._callbacks + 1 if self._instant == self._now else 0
        self._instant = self._now
        if self._callbacks > _MOST:
            raise Livelock("all are busy, and time does not pass")
        handle: Any = self._ready.popleft()
        if handle.cancelled():
            return
        process: Process | None = handle._context.get(PROCESS)
        if process is None:
            handle._run()
        elif process.stopped:
            process.held.append(handle)
        else:
            handle._run()
            process.passes_moment()

    def go_on(self, process: Process) -> None:
        """Let a stopped process go on where it was; its timers are late."""
        process.stopped = False
        self._ready.extend(process.held)
        process.held.clear()
