"""The spine: receive → match → guard → execute → verify → record.

A notification comes in by `accept`. Reception keeps it, and in the same transaction its alerts are matched and proposed as
runs (`intake`), and what has nothing to wait for is guarded and begun (`settle`). Workers claim what is due and carry it on
(`advance` says what comes next), call actions (`execute`), poll the checks (`verify`), and `record` tells of what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from remediator.actions.catalog import Catalog
from remediator.engine.calling import Caller, Secrets
from remediator.engine.clock import Clock
from remediator.engine.delivering import Delivery
from remediator.engine.desk import Desk
from remediator.engine.noticing import Notice, give_notices
from remediator.engine.reception import Receipt, Reception
from remediator.engine.timing import set_schedules
from remediator.engine.workers import Workers
from remediator.errors import StoreError
from remediator.model.alert import Notification
from remediator.model.identity import new_id
from remediator.model.run import Event, EventKind, Reason, State
from remediator.rules.rule import RuleSet
from remediator.rules.standing import Standing
from remediator.store.protocol import RunFilter, Store, Transaction

_log = structlog.get_logger("remediator")

_LOSE_EVERY = 60.0
_BY_CONFIGURATION = {Reason.MAX_RUNNING, Reason.OFF, Reason.APPROVAL}
_RULES_TOLD = 1000  # names and hashes in one line of history


class Engine:
    """Takes notifications in, and carries runs on. `run` works until it is cancelled."""

    def __init__(self, store: Store, clock: Clock, catalog: Catalog, secrets: Secrets) -> None:
        self.store = store
        self.clock = clock
        self.desk = Desk(catalog, new_id(clock.now()))
        self.caller = Caller(self.desk, secrets)
        self.delivery = Delivery(store, clock, self.desk, self.caller)
        self.workers = Workers(store, clock, self.desk, self.caller, self.delivery.look)
        self.reception = Reception(store, clock, self.desk, self.workers)

    async def accept(self, notification: Notification) -> Receipt:
        """Keep a notification and all decisions made of it; returns when they are durable.

        Raises Overloaded and StoreError: nothing of it may be relied upon then.
        """
        return await self.reception.accept(notification)

    async def run(self) -> None:
        """Take in, claim and carry on, until cancelled."""
        await self._lose()  # before anything is claimed: what was not heard of while we were away starts nothing
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reception.work())
            group.create_task(self.workers.claim())
            group.create_task(self.workers.renew())
            group.create_task(self.delivery.work())
            group.create_task(self._keep_losing())

    def look(self) -> None:
        """Look for due runs now."""
        self.workers.look()

    def stirred(self, ordered: bool) -> None:
        """Look, as another daemon may have made work: due runs, and orders to what is at work here."""
        self.look()
        if ordered:
            self.workers.heed()

    async def drain(self, seconds: float) -> None:
        """Take nothing new, and let steps at work end, within a bound."""
        self.desk.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.reception.finish()
        await self.workers.drain(seconds)
        await self.caller.close()

    async def adopt(self, rules: RuleSet, standing: Standing, settings: Mapping[str, Any]) -> None:
        """Put another set of rules and settings in force, all at once; runs that wait under another rule look again."""
        kept = (*rules.rules, standing.notices, standing.second, standing.report)
        definitions = {rule.hash: rule.definition for rule in kept if rule is not None}
        names = {rule.name: rule.hash for rule in rules.rules[:_RULES_TOLD]}

        async def script(tx: Transaction) -> None:
            now = self.clock.now()
            mode = standing.modes.in_force(now, standing.windows)
            data = {"count": len(rules.rules), "rules": names, "mode": mode}
            loaded = Event(at=now, kind=EventKind.RULES_LOADED, run=None, data=data)
            await tx.keep_rules(definitions, now)
            await set_schedules(tx, rules.rules, now)
            await tx.append([loaded])

        await self.store.transact(script)
        self.desk.put(rules, standing, settings, self.clock.now())
        await self.store.transact(self._wake_waiting)
        self.look()

    async def say(self, notice: Notice) -> None:
        """Say something for the daemon itself: kept and sent like a run, or at once where the store is away."""
        now = self.clock.now()
        try:
            await self.store.transact(lambda tx: give_notices(tx, self.desk.standing, [notice], now))
        except StoreError:
            await self.workers.tell_unkept(notice)
        self.look()

    async def _wake_waiting(self, tx: Transaction) -> None:
        """Wake what the new rules, another mode or a higher `max_running` concern."""
        now = self.clock.now()
        for state in (State.WAITING, State.AWAITING_APPROVAL):
            waiting = await tx.runs(RunFilter(state=state, open_only=True, limit=1_000_000))
            concerned = [run.id for run in waiting if run.reason in _BY_CONFIGURATION or self.desk.outdated(run)]
            await tx.wake(concerned, now)

    async def _keep_losing(self) -> None:
        while True:
            await self.clock.wait(asyncio.Event(), _LOSE_EVERY)
            try:
                await self._lose()
            except StoreError as error:
                _log.error("can't close the alerts that nothing was heard of", error=str(error))

    async def _lose(self) -> None:
        """Close as lost the alerts that were not heard of for too long, and look again at their runs."""

        async def script(tx: Transaction) -> int:
            now = self.clock.now()
            lost = await tx.lose(now - self.desk.standing.stale_after, now)
            if lost:
                await tx.wake([run.id for run in await tx.runs_of([each.id for each in lost]) if run.open], now)
                data = {"alerts": len(lost), "fingerprints": [each.fingerprint for each in lost[:20]]}
                await tx.append([Event(at=now, kind=EventKind.LOST, run=None, data=data)])
            return len(lost)

        lost = await self.store.transact(script)
        if lost:
            _log.warning("alerts closed as lost", alerts=lost, not_heard_of_for_seconds=self.desk.standing.stale_after)
            self.look()
