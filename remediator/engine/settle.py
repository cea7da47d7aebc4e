"""Settle: the transaction in which a run goes as far as it can without the outside world.

Reading the controls, the alerts and the books, deciding by `advance` and the guards, and keeping the result are one
transaction: what a guard counted can't change before it is used up, and a step is durable as started before it starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from remediator.actions.protocol import Effect as StepEffect
from remediator.engine.admission import admit
from remediator.engine.advance import advance
from remediator.engine.breaking import open_breakers
from remediator.engine.delivering import keep_unsent
from remediator.engine.moves import Admit, Effect, Ended, Rest, Surroundings
from remediator.engine.noticing import give_notices, notices_of
from remediator.engine.reverting import plan_revert
from remediator.execute import Call
from remediator.model.run import Reason, Run, State, StepState
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing
from remediator.store.protocol import Transaction, Watch


@dataclass(frozen=True, slots=True)
class Settled:
    """A run as far as it goes without the world, and what it was before."""

    before: Run
    story: Story
    effect: Effect
    rule: Rule


async def surroundings(
    tx: Transaction, run: Run, rule: Rule, standing: Standing, now: Timestamp, watch: Watch | None = None
) -> Surroundings:
    """Read what a run's next move depends on, but for what is known of its alerts already."""
    watch = watch or await tx.watch(run.reverts or run.id)
    alerts = await tx.alerts_of(run.reverts or run.id) if needs_alerts(rule, standing) else ()
    return Surroundings(
        now=now,
        standing=standing,
        controls=await tx.controls(now, run.id),
        firing=watch.firing,
        first_seen=watch.first_seen,
        alerts=alerts,
        lost=watch.lost,
    )


def needs_alerts(rule: Rule, standing: Standing) -> bool:
    """Tell whether all alerts of a run have to be read: its templates name them, or Alertmanager is asked for them."""
    return standing.presence_check is not None or "alerts" in rule.names


async def settle(
    tx: Transaction, story: Story, rule: Rule, standing: Standing, now: Timestamp, watch: Watch | None = None
) -> Settled:
    """Take a run as far as it goes, without keeping it yet."""
    before = story.run
    around = await surroundings(tx, before, rule, standing, now, watch)
    if before.given is not None and not around.alerts:
        around = replace(around, alerts=(story.alert,))
    while True:
        story, effect = advance(story, rule, around)
        if not isinstance(effect, Admit):
            break
        story, rested = await admit(tx, story, rule, around, before.target)
        if rested:
            effect = Rest()
            break
    if story.run.state is State.PLANNED and around.resolved(before):
        story = story.with_run(healed_at=now)
    if isinstance(effect, Call) and effect.rule.effect is StepEffect.NOTIFY:
        channel = effect.rule.action.channel(effect.parameters)
        effect = replace(effect, in_line=await tx.waits_for_outbox(channel))
    return Settled(before, story, effect, rule)


async def keep(tx: Transaction, settled: Settled, standing: Standing, now: Timestamp) -> bool:
    """Keep a settled run, and all that follows from its new state; tells whether anything is due. Raises StaleLease."""
    until = now + standing.lease if isinstance(settled.effect, Call) else None
    await tx.save(settled.story, standing.worker, until)
    await keep_unsent(tx, settled.story, settled.rule, now)
    return await follow(tx, settled, standing, now)


async def follow(tx: Transaction, settled: Settled, standing: Standing, now: Timestamp) -> bool:
    """Do what follows from a run's new state: others go on, breakers open, reverts are planned, notices are given."""
    story = settled.story
    woke = await wake_others(tx, settled.before, story.run, settled.effect, now)
    opened = await open_breakers(tx, settled.before, story.run, settled.rule, standing, now)
    reverting = await plan_revert(tx, settled.before, story, settled.rule, now)
    if reverting is not None:
        await tx.add([reverting])
    told = await give_notices(tx, standing, [*notices_of(story, settled.rule), *opened], now)
    return woke or told or reverting is not None


async def wake_others(tx: Transaction, before: Run, after: Run, effect: Effect, now: Timestamp) -> bool:
    """Wake the runs that waited for this one: for its rule and target, for its lock, or for its place."""
    had_place = before.state.at_work or before.reason is Reason.MAX_RUNNING
    has_place = after.state.at_work or after.reason is Reason.MAX_RUNNING
    gives_up = had_place and not has_place
    closes = before.begun and isinstance(effect, Ended)  # for one that had not begun, nobody has waited
    return (closes or gives_up) and await tx.wake_waiting(after, gives_up, now) > 0


def take_back(before: Story, after: Story, call: Call, now: Timestamp) -> Story:
    """Take back a step that was kept as started and was not called, since the store's answer to that was lost or late."""
    error = "the store's answer was lost or late: it was not called"
    lost = msgspec.structs.replace(call.step, state=StepState.FAILED, error=error)
    story = after.saved().record(lost, now)
    former = tuple(step for step in before.steps if step.key == lost.key)
    steps = (*(step for step in story.steps if step.key != lost.key), *former)
    story = msgspec.structs.replace(story, steps=steps)
    return story.with_run(wrote=before.run.wrote, started_at=before.run.started_at)
