"""The spine: receive → match → guard → execute → verify → record."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog

from remediator import metrics
from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Context, Outcome, Resources, Result
from remediator.engine import record
from remediator.engine.advance import Effect, Ended, Rest, Surroundings, scope_of
from remediator.engine.clock import Clock
from remediator.engine.intake import Portion, Taken, take_in, take_up
from remediator.engine.settle import Standing, keep, needs_alerts, settle
from remediator.errors import StaleLease, StoreError
from remediator.execute import Call, conclude, perform, redacted
from remediator.match import Index
from remediator.model.alert import Episode, Notification
from remediator.model.identity import new_id
from remediator.model.run import Event, EventKind, Reason, Run, State
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.rules.load import compile_rule
from remediator.rules.rule import Rule, RuleSet
from remediator.store.protocol import RunFilter, Script, Store, Transaction

_log = structlog.get_logger("remediator")
T = TypeVar("T")

_PORTION = 500  # alerts in one transaction of intake
_WAITING_ALERTS = 100_000  # alerts taken off the wire and not yet kept; past that the answer is 503
_CAPACITY = 128  # runs that this process has in hand at once
_IDLE = 5.0  # seconds: due runs are looked for at least this often, in case a waker was lost
_STORE_RETRY = 0.5
_LOSE_EVERY = 60.0
_RULES_TOLD = 1000  # names and hashes in one line of history


class Overloaded(Exception):
    """Too much is waiting already; the sender should come again later."""


class Receipt(msgspec.Struct, frozen=True):
    """What a sender is told, once it is durable."""

    notification: str
    alerts: int
    refused: int
    runs: list[str]


class _Arrival:
    """A notification on its way into the store."""

    def __init__(self, notification: Notification) -> None:
        self.notification = notification
        self.runs: list[str] = []
        self.kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _refuse(batch: Sequence[tuple[_Arrival, Portion]], error: Exception) -> None:
    for arrival, _ in batch:
        if not arrival.kept.done():
            arrival.kept.set_exception(error)


class Engine:
    """Takes notifications in, and carries runs on. `run` works until it is cancelled."""

    def __init__(
        self, store: Store, clock: Clock, catalog: Catalog, *, secret: Callable[[str], str], worker: str | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self.catalog = catalog
        self.worker = worker or new_id(clock.now())
        self.rules = RuleSet()
        self.standing = Standing(worker=self.worker)
        self.settings: Mapping[str, Any] = {}
        self.draining = False
        self._secret = secret
        self._index = Index(())
        self._frozen: dict[str, Rule] = {}  # rules of runs that began under an older set, by hash
        self._portions: deque[tuple[_Arrival, Portion]] = deque()
        self._waiting_alerts = 0
        self._arrived = asyncio.Event()
        self._due = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_work: dict[str, asyncio.Task[Outcome]] = {}  # by run: the action that is being called
        self._resources = Resources()
        self._renewed_at = clock.now()

    # -- what the app lends it --

    async def adopt(self, rules: RuleSet, standing: Standing, settings: Mapping[str, Any]) -> None:
        """Put another set of rules and settings in force, all at once."""
        now = self.clock.now()
        definitions = {rule.hash: rule.definition for rule in rules.rules}
        changed = {rule.hash for rule in self.rules.rules} != set(definitions)
        data = {"rules": {rule.name: rule.hash for rule in rules.rules[:_RULES_TOLD]}, "mode": standing.mode}
        loaded = Event(at=now, kind=EventKind.RULES_LOADED, run=None, data={"count": len(rules.rules), **data})

        async def script(tx: Transaction) -> None:
            await tx.keep_rules(definitions, now)
            await tx.append([loaded])

        await self.store.transact(script)
        self.rules, self.settings = rules, settings
        self.standing = replace(standing, worker=self.worker)
        self._index = Index(rules.rules)
        if changed:
            await self.store.transact(self._wake_waiting)

    async def _wake_waiting(self, tx: Transaction) -> None:
        waiting = await tx.runs(RunFilter(state=State.WAITING, open_only=True, limit=1_000_000))
        await tx.wake([run.id for run in waiting if not self._in_force(run)], self.clock.now())
        self.look()

    # -- receive --

    async def accept(self, notification: Notification) -> Receipt:
        """Keep a notification and all decisions made of it; returns when they are durable.

        Raises Overloaded and StoreError: nothing of it may be relied upon then.
        """
        if self._waiting_alerts + len(notification.alerts) > _WAITING_ALERTS or self.draining:
            raise Overloaded
        arrival = _Arrival(notification)
        alerts = notification.alerts
        starts = range(0, len(alerts), _PORTION)
        for start in starts:
            part = alerts[start : start + _PORTION]
            self._portions.append((arrival, Portion(notification, part, start == starts[0], start == starts[-1])))
        self._waiting_alerts += len(alerts)
        self._arrived.set()
        await arrival.kept
        return Receipt(
            notification=notification.id,
            alerts=len(alerts),
            refused=len(notification.refused),
            runs=list(dict.fromkeys(arrival.runs)),
        )

    async def _take_in(self) -> None:
        """Gather what has arrived while the last commit was under way, and keep it in one transaction."""
        while True:
            await self._arrived.wait()
            batch: list[tuple[_Arrival, Portion]] = []
            alerts = 0
            while self._portions and (not batch or alerts + len(self._portions[0][1].alerts) <= _PORTION):
                batch.append(self._portions.popleft())
                alerts += len(batch[-1][1].alerts)
            if not self._portions:
                self._arrived.clear()
            if batch:
                await self._take_in_batch(batch)
                self._waiting_alerts -= alerts

    async def _take_in_batch(self, batch: list[tuple[_Arrival, Portion]]) -> None:
        portions = [portion for arrival, portion in batch if not arrival.kept.done()]
        script = partial(take_in, portions=portions, index=self._index, standing=self.standing, now=self.clock.now())
        try:
            taken = await self.store.transact(script)
        except StoreError as error:
            _refuse(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - a body that we can't digest must not stop the others
            if len(batch) > 1:
                for one in batch:
                    await self._take_in_batch([one])
                return
            _log.exception("a notification could not be taken in, which is a defect", id=batch[0][0].notification.id)
            _refuse(batch, error)
            return
        self._go_on(taken)
        for arrival, portion in batch:
            arrival.runs += taken.runs.pop(arrival.notification.id, [])
            if portion.last and not arrival.kept.done():
                arrival.kept.set_result(None)

    def _go_on(self, taken: Taken) -> None:
        """Begin what a transaction has decided: its runs are durable now."""
        for story, effect in taken.begun:
            self._spawn(self._carry(story.saved(), effect))
        if taken.due:
            self.look()
        record.tell_events(taken.events)
        for story in taken.stories:
            record.tell_story(story)

    # -- work --

    async def run(self) -> None:
        """Take in, claim and carry on, until cancelled."""
        await self._lose()  # before anything is claimed: what was not heard of while we were away starts nothing
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_in())
            group.create_task(self._keep_losing())
            group.create_task(self._claim())
            group.create_task(self._renew())

    async def _keep_losing(self) -> None:
        while True:
            await self.clock.wait(asyncio.Event(), _LOSE_EVERY)
            try:
                await self._lose()
            except StoreError as error:
                _log.error("can't close the alerts that nothing was heard of", error=str(error))

    async def _lose(self) -> None:
        """Close as lost the alerts that were not heard of for too long, and look again at their runs."""
        now, before = self.clock.now(), self.clock.now() - self.standing.stale_after

        async def script(tx: Transaction) -> int:
            lost = await tx.lose(before, now)
            if lost:
                await tx.wake([run.id for run in await tx.runs_of([each.id for each in lost]) if run.open], now)
                data = {"alerts": len(lost), "fingerprints": [each.fingerprint for each in lost[:20]]}
                await tx.append([Event(at=now, kind=EventKind.LOST, run=None, data=data)])
            return len(lost)

        lost = await self.store.transact(script)
        if lost:
            _log.warning("alerts closed as lost", alerts=lost, not_heard_of_for_seconds=self.standing.stale_after)
            self.look()

    def look(self) -> None:
        """Look for due runs now."""
        self._due.set()

    async def _claim(self) -> None:
        while True:
            self._due.clear()
            pause = _IDLE
            free = 0 if self.draining else _CAPACITY - len(self._tasks)
            if free > 0:
                now = self.clock.now()
                try:
                    stories, next_due = await self.store.transact(partial(self._claim_script, now=now, limit=free))
                except StoreError as error:
                    _log.error("can't look for due runs", error=str(error))
                    pause, stories, next_due = _STORE_RETRY, [], None
                for story in stories:
                    self._spawn(self._carry(story, None))
                if len(stories) == free:
                    continue
                if next_due is not None:
                    pause = min(pause, max(0.0, next_due - self.clock.now()))
            await self.clock.wait(self._due, pause)

    async def _claim_script(self, tx: Transaction, now: Timestamp, limit: int) -> tuple[list[Story], Timestamp | None]:
        if self._tasks and now - self._renewed_at > self.standing.lease / 2:
            await tx.renew(self.worker, now + self.standing.lease)  # so that we never claim from ourselves
        due = await tx.next_due()
        if due is None or due > now:
            return [], due
        stories = list(await tx.claim(self.worker, now, now + self.standing.lease, limit))
        return stories, await tx.next_due()

    async def _renew(self) -> None:
        while True:
            await self.clock.wait(asyncio.Event(), self.standing.lease / 4)
            if self._tasks:
                try:
                    now = self.clock.now()
                    await self.store.transact(lambda tx, now=now: tx.renew(self.worker, now + self.standing.lease))  # type: ignore[misc]
                    self._renewed_at = now
                except StoreError as error:
                    _log.error("leases can't be renewed", error=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if len(self._tasks) == _CAPACITY:
            self.look()  # there is room again for what is due
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a worker stopped on a defect; its run will be claimed again", exc_info=task.exception())

    async def _carry(self, story: Story, effect: Effect | None) -> None:
        """Carry one claimed run on until it has nothing to do."""
        try:
            rule = await self._rule_of(story.run)
            if effect is None:
                story, effect = await self._settle(story, rule)
            while isinstance(effect, Call):
                if story.run.started_at == effect.step.started_at and story.run.admitted_at is not None:
                    metrics.REACTION_SECONDS.observe(self.clock.now() - story.run.created_at)
                outcome = await self._perform(story, effect)
                story = await self._conclude(story, rule, effect, outcome)
                story, effect = await self._settle(story, rule)
        except StaleLease:
            _log.warning("run passed to another worker, dropped here", run=story.run.id, rule=story.run.rule)

    async def _conclude(self, story: Story, rule: Rule, call: Call, outcome: Outcome) -> Story:
        """Record what a step came to; its `expect` may speak of all alerts of the run."""
        alerts: Sequence[Episode] = ()
        if needs_alerts(rule, self.standing):
            alerts = await self._view(lambda tx: tx.alerts_of(story.run.id))
        now = self.clock.now()
        scope = scope_of(story, rule, Surroundings(now=now, alerts=alerts, public_url=self.standing.public_url))
        return story.record(conclude(call, outcome, scope, now), now)

    async def _view(self, script: Script[T]) -> T:
        """Read, however long the store is away: what has happened must not be forgotten meanwhile."""
        while True:
            try:
                return await self.store.view(script)
            except StoreError as error:
                _log.error("the store is away: nothing starts", error=str(error))
                await self.clock.wait(asyncio.Event(), _STORE_RETRY)

    async def _perform(self, story: Story, call: Call) -> Outcome:
        """Call the action; an operator's `cancel` ends it."""
        used: list[str] = []

        def secret(name: str) -> str:
            value = self._secret(name)
            used.append(value)
            return value

        deadline = asyncio.get_running_loop().time() + call.timeout
        context = Context(
            deadline=deadline, settings=self.settings, secret=secret, run=story.run.id, resources=self._resources
        )
        task = asyncio.create_task(perform(call, context))
        self._at_work[story.run.id] = task
        try:
            return redacted(await asyncio.shield(task), used)
        except asyncio.CancelledError:
            if task.cancelled():
                return Outcome(Result.ERROR, error="ended by an operator's cancel")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            del self._at_work[story.run.id]

    def interrupt(self, run_id: str) -> None:
        """End the action of a run that is at work here, after its cancellation has been laid."""
        task = self._at_work.get(run_id)
        if task is not None:
            task.cancel()

    async def _settle(self, story: Story, rule: Rule) -> tuple[Story, Effect]:
        """Settle and keep; while the store is away, nothing starts and what has ended is not forgotten."""
        while True:
            now = self.clock.now()
            try:
                settled, effect, taken = await self.store.transact(
                    partial(self._settle_script, story=story, rule=rule, now=now)
                )
            except StaleLease:
                raise
            except StoreError as error:
                _log.error("the store is away: nothing starts", run=story.run.id, error=str(error))
                await self.clock.wait(asyncio.Event(), _STORE_RETRY)
                continue
            record.tell_story(settled)
            self._go_on(taken)
            if isinstance(effect, Rest):
                self.look()  # it may be due before anything that is waited for
            return settled.saved(), effect

    async def _settle_script(
        self, tx: Transaction, story: Story, rule: Rule, now: Timestamp
    ) -> tuple[Story, Effect, Taken]:
        taken = Taken()
        before = story.run
        if self.draining:  # what has ended is kept; what comes next is for the daemon that starts after us
            story = story.with_run(due_at=now)
            await keep(tx, before, story, Rest(), self.standing, now)
            return story, Rest(), taken
        if before.state is State.WAITING and not self._in_force(before):
            because = "its rule was changed or taken away before it began"
            story = story.move(State.CANCELLED, now, Reason.RULE_CHANGED, because)
            taken.due = await keep(tx, before, story, Ended(), self.standing, now)
            await self._take_up_again(tx, await tx.release(before.id), None, now, taken)
            return story, Ended(), taken
        story, effect = await settle(tx, story, rule, self.standing, now)
        taken.due = await keep(tx, before, story, effect, self.standing, now)
        if not story.run.open and story.run.target is not None and rule.name in self.rules.by_name:
            waiting = await tx.deferred(rule.name, story.run.target)
            await self._take_up_again(tx, waiting, self.rules.by_name[rule.name], now, taken)
        return story, effect, taken

    async def _take_up_again(
        self, tx: Transaction, episodes: Sequence[Episode], rule: Rule | None, now: Timestamp, taken: Taken
    ) -> None:
        """Propose anew the alerts that were waiting, or whose rule has changed."""
        if not episodes:
            return
        if rule is not None:
            pairs = [(rule, episode) for episode in episodes]
        else:
            decided = await tx.decided([episode.id for episode in episodes])
            pairs = [
                (match, episode)
                for episode in episodes
                for match in self._index.match(episode.labels)
                if (episode.id, match.name) not in decided
            ]
        await take_up(tx, pairs, self.standing, now, taken, {})

    def _in_force(self, run: Run) -> bool:
        rule = self.rules.by_name.get(run.rule)
        return rule is not None and rule.hash == run.rule_hash

    async def _rule_of(self, run: Run) -> Rule:
        """Give the rule that a run began with."""
        if self._in_force(run):
            return self.rules.by_name[run.rule]
        if run.rule_hash not in self._frozen:
            definition = await self.store.view(lambda tx: tx.rule_definition(run.rule_hash))
            if definition is None:
                raise StoreError(
                    f"the rule {run.rule} ({run.rule_hash}) that run {run.id} began with is not in the store"
                )
            self._frozen[run.rule_hash] = compile_rule(definition, self.catalog)
        return self._frozen[run.rule_hash]

    # -- the end --

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let steps at work end, within a bound; what is left is recovered at the next start."""
        self.draining = True
        tasks = list(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._resources.close()
