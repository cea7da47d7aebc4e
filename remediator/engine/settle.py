"""Settle: the transaction in which a run goes as far as it can without the outside world.

Reading the controls, the alerts and the books, deciding by `advance` and the guards, and keeping the result are one
transaction: what a guard counted can't change before it is used up, and a step is durable as started before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remediator import guard
from remediator.engine.advance import advance
from remediator.engine.moves import Admit, Effect, Ended, Rest, Surroundings, block, refuse, scope_of
from remediator.engine.plan import hash_plan, render_plan
from remediator.execute import Call
from remediator.model.books import Allowance
from remediator.model.run import EventKind, Mode, Phase, Reason, Run, State
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp
from remediator.rules.rule import Rule, StepRule
from remediator.rules.templates import TemplateError, UnsafeValue
from remediator.store.protocol import Transaction


@dataclass(frozen=True, slots=True)
class Standing:
    """What the configuration in force lends every decision."""

    mode: Mode = Mode.DRY_RUN
    allowances: Sequence[Allowance] = ()  # the daemon's own limits
    max_running: int | None = 10
    hosts: Sequence[str] = ()
    public_url: str = ""
    resolved_check: StepRule | None = None  # for `verify.resolved`, and
    presence_check: StepRule | None = None  # before admission: both ask Alertmanager's API, where one is configured
    stale_after: Seconds = 5 * 3600.0
    worker: str = "worker"
    lease: Seconds = 60.0


async def surroundings(tx: Transaction, run: Run, rule: Rule, standing: Standing, now: Timestamp) -> Surroundings:
    """Read what a run's next move depends on."""
    watch = await tx.watch(run.id)
    alerts = await tx.alerts_of(run.id) if needs_alerts(rule, standing) else ()
    return Surroundings(
        now=now,
        mode=standing.mode,
        controls=await tx.controls(now, run.id),
        firing=watch.firing,
        first_seen=watch.first_seen,
        alerts=alerts,
        hosts=standing.hosts,
        public_url=standing.public_url,
        lost=watch.lost,
        resolved_check=standing.resolved_check,
        presence_check=standing.presence_check,
    )


def needs_alerts(rule: Rule, standing: Standing) -> bool:
    """Tell whether all alerts of a run have to be read: its templates name them, or Alertmanager is asked for them."""
    return standing.presence_check is not None or "alerts" in rule.names


async def settle(tx: Transaction, story: Story, rule: Rule, standing: Standing, now: Timestamp) -> tuple[Story, Effect]:
    """Take a run as far as it goes, without keeping it yet."""
    around = await surroundings(tx, story.run, rule, standing, now)
    while True:
        story, effect = advance(story, rule, around)
        if not isinstance(effect, Admit):
            break
        story, rested = await _admit(tx, story, rule, standing, around)
        if rested:
            effect = Rest()
            break
    if story.run.state is State.PLANNED and around.firing == 0 and not around.lost:
        story = story.with_run(healed_at=now)
    return story, effect


async def keep(tx: Transaction, before: Run, story: Story, effect: Effect, standing: Standing, now: Timestamp) -> bool:
    """Keep a settled run, and wake what its new state lets go; tells whether that was anything. Raises StaleLease."""
    await tx.save(story, standing.worker, now + standing.lease if isinstance(effect, Call) else None)
    return await wake_others(tx, before, story.run, effect, now)


async def wake_others(tx: Transaction, before: Run, after: Run, effect: Effect, now: Timestamp) -> bool:
    """Wake the runs that waited for this one: for its rule and target, for its lock, or for its place."""
    had_place = before.state.at_work or before.reason is Reason.MAX_RUNNING
    has_place = after.state.at_work or after.reason is Reason.MAX_RUNNING
    if isinstance(effect, Ended) or (had_place and not has_place):
        return await tx.wake_waiting(after, had_place and not has_place, now) > 0
    return False


async def _admit(
    tx: Transaction, story: Story, rule: Rule, standing: Standing, around: Surroundings
) -> tuple[Story, bool]:
    """Read the books, ask the guards, and use them up. Tells whether the run has to wait instead."""
    run, now = story.run, around.now
    target = run.target or ""
    other = await tx.open_run(rule.name, target)
    if other is not None and other.id != run.id:
        if not other.begun:
            await tx.hand_over(run.id, other.id)
            await tx.wake([other.id], now)
            return story.with_run(target=None).move(
                State.CANCELLED, now, Reason.JOINED, f"run {other.id} waits for {target} already"
            ), False
        because = f"run {other.id} on {target} has to close first"
        return story.with_run(target=None).rest(None, now, Reason.BUSY, because), True
    try:
        scope = scope_of(story, rule, around, planning=True)
        plan = render_plan(rule, scope, standing.hosts)
        case = guard.prepare(run, rule, target, scope, standing.allowances)
    except UnsafeValue as error:
        return block(story, rule, Reason.UNSAFE_VALUE, str(error), now), False
    except TemplateError as error:
        return block(story, rule, Reason.TEMPLATE_ERROR, str(error), now), False
    story = story.with_run(plan=plan, plan_hash=hash_plan(plan))
    books = await tx.books(case.question)
    refusal = guard.decide(case, books, now)
    if refusal is not None:
        story, effect = refuse(story, rule, refusal, now)
        return story, effect is not None
    if standing.max_running is not None and books.at_work + books.in_line >= standing.max_running:
        because = (
            f"{books.at_work} runs are at work, {books.in_line} wait before it, and guard.max_running is "
            f"{standing.max_running}"
        )
        return story.rest(None, now, Reason.MAX_RUNNING, because), True
    story = story.with_run(
        admitted_at=now, lock=case.question.lock, phase=Phase.STEPS, refused_since=None, due_at=None
    ).tell(
        EventKind.ADMITTED, now, rule=rule.name, rule_hash=rule.hash, target=target, mode=run.mode,
        lock=case.question.lock, plan_hash=story.run.plan_hash,
    )  # fmt: skip
    return story.move(State.RUNNING, now), False
