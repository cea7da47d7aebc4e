"""Housekeeping: what a daemon does now and then beside its work. None of it decides anything about a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from remediator.config import Retention
from remediator.engine import Engine
from remediator.engine.anchoring import Anchoring
from remediator.engine.replicas import TELL_EVERY, Replicas
from remediator.errors import StoreError
from remediator.model.time import Seconds
from remediator.review.morning import report_when_due
from remediator.store.chain import Head

_log = structlog.get_logger("remediator")

_SOON: Seconds = 600.0


class Housekeeping:
    """Keeps the history short and its head told, the replicas acquainted, and the report on time."""

    def __init__(self, engine: Engine, retention: Callable[[], Retention], note: Callable[[Head], None]) -> None:
        self._engine = engine
        self._retention = retention
        self._note = note  # is told how far the history has got
        self._anchoring = Anchoring(engine.store, engine.clock)
        self._replicas = Replicas(engine)
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    async def begin(self) -> None:
        """Tell that we are here, then go on by the clock of the process."""
        await self.tell_replicas()
        await self.publish_head()
        jobs = (
            (self.prune, 6 * 3600),
            (self.tell_replicas, TELL_EVERY),
            (self.tell_report, 15),
            (self.publish_head, 3600),
        )
        for job, seconds in jobs:
            self.every(seconds, job)
        self._scheduler.start()

    def every(self, seconds: float, job: Callable[[], object]) -> None:
        """Do something again and again, late rather than not at all; what is seldom for the first time soon.

        A daemon that is restarted more often than every few hours would never do it else.
        """
        first = datetime.now(UTC) + timedelta(seconds=min(seconds, _SOON))
        self._scheduler.add_job(job, "interval", seconds=seconds, misfire_grace_time=None, next_run_time=first)

    def end(self) -> None:
        """Begin nothing more."""
        self._scheduler.shutdown(wait=False)

    async def prune(self) -> None:
        """Forget what is older than it has to be kept."""
        now, keep = self._engine.clock.now(), self._retention()
        before = {"runs": now - keep.runs, "notifications": now - keep.notifications, "events": now - keep.events}
        try:
            gone = 1
            while gone:
                gone = await self._engine.store.transact(lambda tx: tx.prune(**before))
        except StoreError as error:
            _log.error("old records could not be pruned", error=str(error))

    async def publish_head(self) -> None:
        """Tell the head of the history where whoever changes the store can't reach."""
        try:
            self._note(await self._anchoring.publish())
        except StoreError as error:
            _log.error("the head of the history could not be published, and is within the hour", error=str(error))

    async def tell_report(self) -> None:
        """Give the report when its time has come."""
        try:
            await report_when_due(self._engine)
        except StoreError as error:
            _log.error("the report could not be given, and is tried again", error=str(error))

    async def tell_replicas(self) -> None:
        """Tell the other daemons over this store that we are here."""
        try:
            self._note(await self._replicas.tell())
        except StoreError as error:
            _log.error("the other replicas can't be told of this one", error=str(error))
