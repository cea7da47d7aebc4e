"""Virtual time: an event loop that jumps to what comes next instead of waiting for it, and the clock over it.

What runs on it is ordinary asyncio: tasks, sleeps, timeouts, events. No threads, sockets or processes: whatever would come
from outside of the loop could come at any moment, and no run would be like another.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from remediator.engine.clock import SystemClock
from remediator.model.time import Timestamp

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(RuntimeError):
    """Every task waits, and nothing is left that could wake one."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose `time()` is virtual: it stands still while anything is ready, then jumps to the next timer.

    It begins at `start`, so that the loop's time can be an instant: then no sum of the two is ever rounded. Callbacks run in
    the order in which they became ready, or, with a seed, in any order: one is drawn each time.
    """

    # Of asyncio's own loop, which keeps its callbacks in these since Python 3.4.
    _ready: deque[Any]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, start: Timestamp = 0.0, seed: int | None = None) -> None:
        super().__init__()
        self._now = start
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - an order that can be repeated
        self._waiting_for_calm: list[asyncio.Future[None]] = []

    def time(self) -> Timestamp:
        """Give the virtual instant."""
        return self._now

    @property
    def next_timer(self) -> Timestamp | None:
        """Say when the next timer is due, if there is one."""
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
        return self._scheduled[0].when() if self._scheduled else None

    async def calm(self) -> None:
        """Return when everything that can happen at this instant has happened, before time passes.

        The caller may then `jump`; if nobody jumps or waits for the next calm, time passes by itself.
        """
        calm = self.create_future()
        self._waiting_for_calm.append(calm)
        await calm

    def jump(self, to: Timestamp) -> None:
        """Let it be that instant, whatever timers lie between: they are late then, as after a suspend. Never goes back."""
        self._now = max(self._now, to)

    def _run_once(self) -> None:
        """Run what is ready, or else let time pass: in the place of asyncio's own, which waits for the outside."""
        self._ripen()
        if not self._ready and not self._stopping:
            self._pass()
            self._ripen()
        at_once = len(self._ready)
        if self._random is not None and at_once:
            self._ready.rotate(-self._random.randrange(at_once))
            at_once = 1
        for _ in range(at_once):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _ripen(self) -> None:
        while (due := self.next_timer) is not None and due <= self._now:
            self._ready.append(heapq.heappop(self._scheduled))

    def _pass(self) -> None:
        """Nothing is ready: say so to who waits for that, else let it be the time of the next timer."""
        waiting, self._waiting_for_calm = self._waiting_for_calm, []
        if waiting:
            for calm in waiting:
                if not calm.done():
                    calm.set_result(None)
            return
        due = self.next_timer
        if due is None:
            names = sorted(task.get_name() + f" ({task.get_coro()})" for task in asyncio.all_tasks(self))
            raise Deadlock(f"all wait, and nothing is left to wake any of them: {'; '.join(names)}")
        self.jump(due)

    def _write_to_self(self) -> None:
        """Wake a loop that waits for the outside, which this one never does. The handler of Ctrl-C asks for it."""

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Refuse: a thread ends at no virtual time. Raises RuntimeError."""
        raise RuntimeError(f"there are no threads in virtual time: {func!r} was to run in one")


class VirtualClock(SystemClock):
    """The clock of what runs on a virtual loop: its present is the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> Timestamp:
        """Give the loop's virtual instant."""
        return self._loop.time()


def run_virtual(main: Coroutine[Any, Any, T], *, start: Timestamp = 0.0, seed: int | None = None) -> T:
    """Run a coroutine to its end in virtual time, as `asyncio.run` does in real time; what it left behind is cancelled.

    Raises what it raises, and Deadlock.
    """
    with asyncio.Runner(loop_factory=partial(VirtualLoop, start, seed)) as runner:
        return runner.run(main)
