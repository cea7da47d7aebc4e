"""Workers: claim due runs, and carry each on: settle, call the action that is due, conclude, settle again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog
from msgspec.structs import replace

from remediator import metrics
from remediator.actions.protocol import Outcome, Result
from remediator.engine import record
from remediator.engine.advance import advance
from remediator.engine.calling import Caller
from remediator.engine.clock import Clock
from remediator.engine.desk import Desk
from remediator.engine.intake import Taken, take_up
from remediator.engine.moves import Effect, Ended, Rest, Surroundings, scope_of
from remediator.engine.noticing import Notice, notice_story
from remediator.engine.settle import Settled, keep, needs_alerts, settle, take_back
from remediator.engine.timing import fire
from remediator.errors import StaleLease, StoreError
from remediator.execute import Call, conclude
from remediator.model.alert import Episode
from remediator.model.run import Origin, Priority, Reason, State
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.rules.rule import Rule
from remediator.store.protocol import Script, Store, Transaction

_log = structlog.get_logger("remediator")
T = TypeVar("T")

_CAPACITY = 128  # runs that this process has in hand at once
_FOR_URGENT = 32  # of these, kept free for P0 and P1: slow work of less weight must not starve them
_URGENT = (Priority.P0, Priority.P1)
_IDLE = 5.0  # seconds: due runs are looked for at least this often, in case a waker was lost
_STORE_RETRY = 0.5
_LATE = 2.0  # seconds from the decision that a step begins: a pause holds all that begins later than that (P7)
_ENDED_BY_ORDER = Outcome(Result.ERROR, error="ended by an operator's cancel")


class Workers:
    """Everything that this process has in hand. `claim` and `renew` work until they are cancelled."""

    def __init__(self, store: Store, clock: Clock, desk: Desk, caller: Caller, unsent: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._desk = desk
        self._caller = caller
        self._unsent = unsent  # tells that a message has been kept in the outbox
        self.tasks: set[asyncio.Task[None]] = set()
        self._in_hand: set[str] = set()  # runs whose leases are kept
        self._due = asyncio.Event()
        self._ordered = asyncio.Event()  # another daemon has laid something on a run, which may be at work here
        self._at_work: dict[str, asyncio.Task[Outcome]] = {}  # by run: the action that is being called
        self._renewed_at = clock.now()
        self.looked_at = clock.now()  # when due runs were last looked for, or would have been while we drain

    @property
    def looking(self) -> bool:
        """Tell whether due runs are about to be looked for."""
        return self._due.is_set()

    def look(self) -> None:
        """Look for due runs now."""
        self._due.set()

    def go_on(self, taken: Taken) -> None:
        """Begin what a transaction has decided: its runs are durable now."""
        for story, effect in taken.begun:
            self._spawn(story.saved(), effect)
        if taken.due:
            self.look()
        record.tell_events(taken.events)
        record.tell_stories(taken.stories)

    async def claim(self) -> None:
        """Lease due runs and carry them on, until cancelled."""
        while True:
            self._due.clear()
            self.looked_at = self._clock.now()
            pause = _IDLE
            if not self._desk.draining:
                try:
                    stories, next_due, taken = await self._store.transact(self._claim_script)
                except StoreError as error:
                    _log.error("can't look for due runs", error=str(error))
                    pause = _STORE_RETRY
                else:
                    self.go_on(taken)
                    for story in stories:
                        self._spawn(story, None)
                    if next_due is not None and (next_due > taken.now or self._free > _FOR_URGENT):
                        pause = min(pause, max(0.0, next_due - self._clock.now()))
            if pause > 0:
                await self._clock.wait(self._due, pause)

    @property
    def _free(self) -> int:
        return max(0, _CAPACITY - len(self.tasks))

    @property
    def has_room(self) -> bool:
        """Tell whether a run may begin out of its turn: what is kept free for urgent work is for those that are claimed."""
        return self._free > _FOR_URGENT

    async def _claim_script(self, tx: Transaction) -> tuple[list[Story], Timestamp | None, Taken]:
        now = self._clock.now()  # in the transaction: one that had to wait must not decide by the time before
        if self._in_hand and now - self._renewed_at > self._desk.standing.lease / 2:
            await self._renew_script(tx)  # so that we never claim from ourselves
        taken = Taken(now, begin=False)
        due = await tx.next_due()
        if due is None or due > now:
            return [], due, taken
        await fire(tx, self._desk, taken)
        until = now + self._desk.standing.lease
        stories = list(await tx.claim(self._desk.worker, now, until, self._free, _URGENT))
        left = self._free - len(stories) - _FOR_URGENT
        if left > 0:
            stories += await tx.claim(self._desk.worker, now, until, left)
        return stories, await tx.next_due(), taken

    def heed(self) -> None:
        """Look whether another daemon was told to cancel what is at work here."""
        self._ordered.set()

    async def renew(self) -> None:
        """Keep the leases of what is in hand, and end what was cancelled elsewhere, until cancelled."""
        while True:
            await self._clock.wait(self._ordered, self._desk.standing.lease / 4)
            self._ordered.clear()
            if self._in_hand:
                try:
                    cancelled = await self._store.transact(self._renew_script)
                except StoreError as error:
                    _log.error("leases can't be renewed", error=str(error))
                else:
                    for run in cancelled:
                        self.interrupt(run)

    async def _renew_script(self, tx: Transaction) -> Sequence[str]:
        now = self._clock.now()
        await tx.renew(self._desk.worker, self._in_hand, now + self._desk.standing.lease)
        self._renewed_at = now
        return await tx.cancelled(self._at_work)

    def _spawn(self, story: Story, effect: Effect | None) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(story, effect))
        self._in_hand.add(story.run.id)
        self.tasks.add(task)
        task.add_done_callback(partial(self._done, story.run.id))

    def _done(self, run_id: str, task: asyncio.Task[None]) -> None:
        if self._free <= _FOR_URGENT:
            self.look()  # there is room again for what is due
        self.tasks.discard(task)
        self._in_hand.discard(run_id)  # if it ended on a defect, its lease runs out, and it is claimed again
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StoreError):
            words = "the store broke while this run was at work: mend the store and restart; the run is then looked at again"
            _log.error(words, run=run_id, error=str(error))
        elif error is not None:
            _log.error("a worker stopped on a defect; its run will be claimed again", exc_info=error, run=run_id)

    async def _carry(self, story: Story, effect: Effect | None) -> None:
        """Carry one claimed run on until it has nothing to do."""
        try:
            rule = await self._desk.rule_of(story.run, self._store)
            before = story
            if effect is None:
                story, effect = await self._settle(story, rule)
            else:  # it has begun with its notification: before that it was only proposed
                before = replace(story.with_run(wrote=False, started_at=None), steps=())
            while isinstance(effect, Call):
                now = self._clock.now()
                if _LATE <= now - (effect.step.started_at or 0.0) < self._desk.standing.lease:
                    # The store's answer took its time, or we stood still: a person may have paused since.
                    story = take_back(before, story, effect, now)
                else:
                    if story.run.started_at == effect.step.started_at and story.run.admitted_at is not None:
                        metrics.REACTION_SECONDS.observe(now - story.run.created_at)
                    outcome = await self._perform(story, effect)
                    story = await self._conclude(story, rule, effect, outcome)
                before = story
                story, effect = await self._settle(story, rule)
        except StaleLease:
            _log.warning("run passed to another worker, dropped here", run=story.run.id, rule=story.run.rule)

    async def _conclude(self, story: Story, rule: Rule, call: Call, outcome: Outcome) -> Story:
        """Record what a step came to; its `expect` may speak of all alerts of the run."""
        now = self._clock.now()  # before the store is asked, which may take its time: a fact is as old as its answer
        alerts: Sequence[Episode] = ()
        if needs_alerts(rule, self._desk.standing):
            alerts = await self._view(lambda tx: tx.alerts_of(story.run.reverts or story.run.id))
        if story.run.given is not None and not alerts:
            alerts = (story.alert,)
        scope = scope_of(story, rule, Surroundings(now=now, standing=self._desk.standing, alerts=alerts))
        step = conclude(call, outcome, scope, now)
        if outcome is _ENDED_BY_ORDER:
            step = replace(
                step, kept=False, error=outcome.error
            )  # a message that a person has stopped is not sent later
        return story.record(step, now)

    async def _view(self, script: Script[T]) -> T:
        """Read, however long the store is away: what has happened must not be forgotten meanwhile."""
        while True:
            try:
                return await self._store.view(script)
            except StoreError as error:
                if self._store.broken:
                    raise
                _log.error("the store is away: nothing starts", error=str(error))
                await self._clock.wait(asyncio.Event(), _STORE_RETRY)

    async def _perform(self, story: Story, call: Call) -> Outcome:
        """Call the action; an operator's `cancel` ends it. Raises StaleLease where we stood still since it was settled."""
        if call.in_line:
            return Outcome(Result.NOT_SENT, error=f"{call.step.uses} waits for earlier messages that could not be sent")

        async def begin() -> Outcome:
            if self._clock.now() - (call.step.started_at or 0.0) >= self._desk.standing.lease:
                raise StaleLease(f"the lease of run {story.run.id} had run out before {call.step.uses} could begin")
            return await self._caller.call(call.rule.action, call.parameters, call.timeout, story.run.id)

        task = asyncio.create_task(begin())
        self._at_work[story.run.id] = task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return _ENDED_BY_ORDER
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            # One that was frozen past its lease may have the run in hand a second time by now.
            if self._at_work.get(story.run.id) is task:
                del self._at_work[story.run.id]

    def interrupt(self, run_id: str) -> None:
        """End the action of a run that is at work here, after its cancellation has been laid."""
        task = self._at_work.get(run_id)
        if task is not None:
            task.cancel()

    async def tell_unkept(self, notice: Notice) -> None:
        """Tell a notice without the store, which is what it is about: nothing of it is kept."""
        standing = self._desk.standing
        if standing.notices is None or not standing.wants(notice.kind):
            return
        story = notice_story(standing.notices, notice, standing.public_url, self._clock.now())
        while True:
            story, effect = advance(story, standing.notices, Surroundings(self._clock.now(), standing))
            if not isinstance(effect, Call):
                return
            outcome = await self._perform(story, effect)
            now = self._clock.now()
            scope = scope_of(story, standing.notices, Surroundings(now, standing))
            story = story.record(conclude(effect, outcome, scope, now), now)
            if not outcome.ok:
                _log.error("a notice could not be told", kind=notice.kind, uses=effect.rule.uses, error=outcome.error)

    async def _settle(self, story: Story, rule: Rule) -> tuple[Story, Effect]:
        """Settle and keep; while the store is away, nothing starts and what has ended is not forgotten."""
        tried: tuple[Story, Effect, Taken] | None = None

        async def script(tx: Transaction) -> tuple[Story, Effect, Taken]:
            nonlocal story, tried
            if tried is not None and isinstance(tried[1], Call) and await _was_kept(tx, tried[0], tried[1]):
                # A person may have paused since: what was not called begins by what is in force now, or not at all.
                record.tell_story(tried[0])
                self.go_on(tried[2])
                story = take_back(story, tried[0], tried[1], self._clock.now())
            tried = await self._settle_script(tx, story, rule)
            return tried

        while True:
            try:
                settled, effect, taken = await self._store.transact(script)
            except StoreError as error:
                if isinstance(error, StaleLease) or self._store.broken:
                    raise
                _log.error("the store is away: nothing starts", run=story.run.id, error=str(error))
                await self._clock.wait(asyncio.Event(), _STORE_RETRY)
                continue
            record.tell_story(settled)
            self.go_on(taken)
            if any(step.kept for step in settled.steps):
                self._unsent()
            if isinstance(effect, Rest):
                self.look()  # it may be due before anything that is waited for
            return settled.saved(), effect

    async def _settle_script(self, tx: Transaction, story: Story, rule: Rule) -> tuple[Story, Effect, Taken]:
        now = self._clock.now()
        taken, standing = Taken(now, begin=False), self._desk.standing
        before = story.run
        if self._desk.draining:  # what has ended is kept; what comes next is for the daemon that starts after us
            story = story.with_run(due_at=now)
            await keep(tx, Settled(before, story, Rest(), rule), standing, now)
            return story, Rest(), taken
        if self._desk.outdated(before):
            because = "its rule was changed or taken away before it began"
            story = story.move(State.CANCELLED, now, Reason.RULE_CHANGED, because)
            taken.due = await keep(tx, Settled(before, story, Ended(), rule), standing, now)
            await self._take_up_again(tx, await tx.release(before.id), taken)
            return story, Ended(), taken
        settled = await settle(tx, story, rule, standing, now)
        story, effect = settled.story, settled.effect
        taken.due = await keep(tx, settled, standing, now)
        target = story.run.target
        if before.begun and not story.run.open and target is not None and before.origin is not Origin.REVERT:
            waiting = await tx.release_deferred(rule.name, target)
            await self._take_up_again(tx, waiting, taken)
        return story, effect, taken

    async def _take_up_again(self, tx: Transaction, episodes: Sequence[Episode], taken: Taken) -> None:
        """Propose anew, by the rules in force, the alerts that were waiting or whose rule has changed."""
        if not episodes:
            return
        decided = await tx.decided([episode.id for episode in episodes])
        pairs = [
            (rule, episode)
            for episode in episodes
            for rule in self._desk.index.match(episode.labels)
            if (episode.id, rule.name) not in decided
        ]
        await take_up(tx, pairs, self._desk.standing, taken)

    async def drain(self, seconds: float) -> None:
        """Let steps at work end, within a bound; what is left is recovered at the next start."""
        try:
            async with asyncio.timeout(seconds):
                while self.tasks:  # a notification that was being kept may have begun one more
                    await asyncio.wait(self.tasks)
        except TimeoutError:
            late = list(self.tasks)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _was_kept(tx: Transaction, story: Story, call: Call) -> bool:
    """Tell whether a transaction that was said to have failed was kept all the same, as when the answer to it was lost.

    What it used up must not be used up again. Where nothing was to begin, the run was let go of, and its fence tells.
    """
    there = await tx.run(story.run.id)
    begun = (call.step.key, call.step.attempt, call.step.started_at)
    return there is not None and any((step.key, step.attempt, step.started_at) == begun for step in there.steps)
