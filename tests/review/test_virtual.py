"""Virtual time: everything of asyncio works on it, nothing waits, and a seed repeats an order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from remediator.review.virtual import Deadlock, VirtualClock, VirtualLoop, run_virtual

START = 1_795_000_000.0


def the_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_a_year_passes_at_once() -> None:
    """Sleeping costs nothing, and ends at the very instant."""

    async def main() -> float:
        await asyncio.sleep(365 * 86400.0)
        return the_loop().time()

    began = time.monotonic()
    assert run_virtual(main(), start=START) == START + 365 * 86400.0
    assert time.monotonic() - began < 1


def test_timeouts_groups_and_events_work() -> None:
    """What the engine is made of."""
    seen: list[tuple[float, str]] = []

    async def note(what: str, after: float) -> None:
        await asyncio.sleep(after)
        seen.append((the_loop().time(), what))

    async def main() -> None:
        event = asyncio.Event()
        the_loop().call_later(7, event.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(note("second", 2))
            group.create_task(note("first", 1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await event.wait()
            seen.append((the_loop().time(), "timed out"))
        await event.wait()
        seen.append((the_loop().time(), "set"))

    run_virtual(main())
    assert seen == [(1, "first"), (2, "second"), (5, "timed out"), (7, "set")]


def test_the_clock_is_the_loops() -> None:
    """It waits for an event or a span, whichever comes first."""

    async def main() -> list[float]:
        clock, event = VirtualClock(the_loop()), asyncio.Event()
        await clock.wait(event, 30)
        first = clock.now()
        the_loop().call_later(5, event.set)
        await clock.wait(event, 30)
        return [first, clock.now()]

    assert run_virtual(main(), start=START) == [START + 30, START + 35]


def test_when_all_wait_for_nothing_that_is_said() -> None:
    """With the names of those that wait, and without hanging."""

    async def main() -> None:
        await asyncio.gather(asyncio.Event().wait(), asyncio.create_task(asyncio.Event().wait(), name="the other"))

    with pytest.raises(Deadlock, match=r"nothing is left to wake any of them: .*main.*the other"):
        run_virtual(main())


def test_a_cancelled_timer_is_no_reason_to_wait() -> None:
    """Time does not pass for it."""

    async def main() -> float:
        the_loop().call_later(100, print).cancel()
        await asyncio.sleep(1)
        return the_loop().time()

    assert run_virtual(main()) == 1


async def orders() -> list[int]:
    seen: list[int] = []

    async def work(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(number)

    await asyncio.gather(*(work(number) for number in range(5)))
    return seen


def test_without_a_seed_the_order_is_asyncios_own() -> None:
    """First in, first out."""
    assert run_virtual(orders()) == asyncio.run(orders()) == [0, 1, 2, 3, 4] * 3


def test_a_seed_gives_an_order_that_can_be_repeated() -> None:
    """Another seed gives another; all that was to happen happens."""
    assert run_virtual(orders(), seed=1) == run_virtual(orders(), seed=1)
    seen = [run_virtual(orders(), seed=seed) for seed in range(50)]
    assert len(set(map(tuple, seen))) > 40
    assert all(sorted(each) == sorted([0, 1, 2, 3, 4] * 3) for each in seen)


def test_calm_comes_before_time_passes_and_a_jump_skips_timers() -> None:
    """Whoever drives the world sees that all is done at an instant, and may leave out what is idle until another."""

    async def main() -> list[Any]:
        loop, ticks = the_loop(), list[float]()

        async def tick() -> None:
            while True:
                await asyncio.sleep(5)
                ticks.append(loop.time())

        ticking = asyncio.create_task(tick())
        await loop.calm()
        assert (loop.time(), loop.next_timer) == (0, 5)
        loop.jump(1000)
        await loop.calm()
        ticking.cancel()
        return [ticks, loop.time()]

    assert run_virtual(main()) == [[1000.0], 1000.0]


@pytest.mark.parametrize("ask", [asyncio.to_thread, lambda work: the_loop().run_in_executor(None, work)])
def test_threads_are_refused(ask: Callable[[Any], Awaitable[None]]) -> None:
    """What comes from a thread could come at any moment."""

    async def main() -> None:
        await ask(print)

    with pytest.raises(RuntimeError, match="no threads in virtual time"):
        run_virtual(main())


def test_what_main_leaves_behind_is_cancelled() -> None:
    """As asyncio.run does, so that nothing warns of a task that was destroyed."""
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(float("inf"))
        finally:
            ended.append("cancelled")

    async def main() -> str:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        return "done" if not task.done() else "?"

    assert run_virtual(main()) == "done"
    assert ended == ["cancelled"]
