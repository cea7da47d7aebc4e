"""The daemon's clock: the wall's time at start, moved on by the monotonic clock.

It counts the time that the machine was suspended too, so that stale work expires. A wall clock that jumps while the daemon
runs opens no cooldown, limit or lease (P17). Over a shared store it is the database's clock, which all replicas go by.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from remediator.model.time import Seconds, Timestamp, format_duration

_log = structlog.get_logger("remediator")

_BEHIND: Seconds = 5.0  # more than a transaction that has waited for its turn may lie back


class Clock(Protocol):
    """What the shell asks for the time; the core is given `now`."""

    def now(self) -> Timestamp:
        """Give the present instant."""

    async def wait(self, event: asyncio.Event, seconds: Seconds) -> None:
        """Return when the event is set, or that much later."""


class SystemClock:
    """The real one."""

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._newest = 0.0
        self._follows = False
        self._behind = False  # the clock that we follow was set back, and ours stands still

    def now(self) -> Timestamp:
        """Give the present instant; it never goes back."""
        self._newest = max(self._newest, self._offset + time.clock_gettime(time.CLOCK_BOOTTIME))
        return self._newest

    def follow(self, there: Timestamp) -> None:
        """Go by the clock of a store that is shared, which has just told its time; ours stands still till it is as late."""
        self._offset = there - time.clock_gettime(time.CLOCK_BOOTTIME)
        if not self._follows:  # till now it was the wall's time, which may have been wrong
            self._follows, self._newest = True, 0.0
        behind = self._newest - there
        if behind > _BEHIND and not self._behind:  # told once
            words = "the database's clock was set back: nothing that waits for a time goes on till it has caught up; set it right"
            _log.error(words, behind=format_duration(behind))
        self._behind = behind > _BEHIND

    async def wait(self, event: asyncio.Event, seconds: Seconds) -> None:
        """Return when the event is set, or that much later."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
