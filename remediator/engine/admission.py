"""Admission: the books are read, the guards decide by them and are used up, all in the transaction that admits."""

from __future__ import annotations

from remediator import guard
from remediator.engine.approving import ask
from remediator.engine.moves import Surroundings, block, end, refuse, scope_of
from remediator.engine.plan import hash_plan, render_plan
from remediator.engine.scope import priority_of
from remediator.model.books import Books, Question
from remediator.model.run import EventKind, Mode, Origin, Phase, Reason, State
from remediator.model.story import Story
from remediator.rules.rule import Rule
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue
from remediator.store.protocol import Transaction


async def admit(
    tx: Transaction, story: Story, rule: Rule, around: Surroundings, known: str | None
) -> tuple[Story, bool]:
    """Read the books, ask the guards, and use them up. Tells whether the run has to wait instead.

    `known` is the target that the store has it for: of those there is one open run, and it is this one.
    """
    if story.run.origin is Origin.REVERT or story.run.admitted_at is not None:
        admit_it = _admit_revert if story.run.origin is Origin.REVERT else _admit_again
        return await admit_it(tx, story, rule, around)
    run, now, standing = story.run, around.now, around.standing
    joined = None if run.target == known else await _joined(tx, story, rule, around)
    if joined is not None:
        return joined
    if "facts" in rule.target.names:
        await tx.name_target(run.id, run.target or "")  # what has told it comes after the decision to take the alert up
    scope = scope_of(story, rule, around, planning=True)
    try:
        priority_of(rule, scope)
        case = guard.prepare(run, rule, scope, standing, around.controls, now)
        books = await tx.books(case.question)
        rung = _starting_rung(rule, books, around)
        if rung >= len(rule.rungs):
            stormy = guard.storm(case, books, now)  # which tells nobody of each run
            if stormy is None:
                return _past_the_last(story, rule, rung), False
            story, effect = refuse(story, rule, stormy, now)
            return story, effect is not None
        if rung != run.rung:
            return story.forget(Phase.STEPS).with_run(rung=rung, reads_ahead=False, approved_hash=None), False
        plan = render_plan(rule, rung, scope, standing.hosts)
    except UnsafeValue as error:
        return block(story, rule, Reason.UNSAFE_VALUE, str(error), now), False
    except TemplateError as error:
        return block(story, rule, Reason.TEMPLATE_ERROR, str(error), now), False
    story = story.with_run(plan=plan, plan_hash=hash_plan(plan))
    refusal = guard.decide(case, books, now)
    if refusal is not None:
        return await _refuse(tx, story, rule, refusal, around, books.lock_holder)
    story = story.with_run(refused_since=None)  # a refusal that comes after this is another one
    if run.mode is Mode.APPROVE and run.approved_hash != story.run.plan_hash:
        if rule.rungs[rung].leading and not run.reads_ahead:
            return story.with_run(reads_ahead=True), False  # so that the plan that is shown is whole
        return ask(story, rule, now), False
    if standing.max_running is not None and books.at_work + books.in_line >= standing.max_running:
        because = (
            f"{books.at_work} runs are at work, {books.in_line} wait before it, and guard.max_running is "
            f"{standing.max_running}"
        )
        return story.rest(None, now, Reason.MAX_RUNNING, because), True
    return _begin(story, case.question.lock, around), False


def _begin(story: Story, lock: str | None, around: Surroundings) -> Story:
    run, now = story.run, around.now
    told = story.with_run(
        admitted_at=now, lock=lock, phase=Phase.STEPS, due_at=None, reads_ahead=False, approved_hash=None,
        paused_for=0.0,
    ).tell(
        EventKind.ADMITTED, now, rule=run.rule, rule_hash=run.rule_hash, target=run.target, mode=run.mode, lock=lock,
        plan_hash=run.plan_hash, rung=run.rung, approved=run.approved_hash is not None,
    )  # fmt: skip
    return told.move(State.RUNNING, now)


async def _admit_again(tx: Transaction, story: Story, rule: Rule, around: Surroundings) -> tuple[Story, bool]:
    """Ask the guards about the world again of a run that a pause has held; its admission stays used up."""
    run, now, standing = story.run, around.now, around.standing
    scope = scope_of(story, rule, around, planning=True)
    try:
        target = str(rule.target.render(scope)).strip()
        case = guard.prepare(run, rule, scope, standing, around.controls, now)
        plan = render_plan(rule, run.rung, scope, standing.hosts)
    except UnsafeValue as error:
        return block(story, rule, Reason.UNSAFE_VALUE, str(error), now), False
    except (TemplateError, PendingValue) as error:
        return block(story, rule, Reason.TEMPLATE_ERROR, str(error), now), False
    if target != run.target:
        because = f"its facts name {target} since the pause, and it was admitted for {run.target}"
        return block(story, rule, Reason.FACTS, because, now), False
    refusal = guard.decide(case, await tx.books(case.question), now, guard.OF_THE_WORLD)
    if refusal is not None:
        story, effect = refuse(story, rule, refusal, now)
        return story, effect is not None
    story = story.with_run(plan=plan, plan_hash=hash_plan(plan), refused_since=None)
    if run.mode is Mode.APPROVE and run.approved_hash != story.run.plan_hash:
        return ask(story, rule, now), False
    return story.with_run(phase=Phase.STEPS, reads_ahead=False, approved_hash=None), False


async def _joined(tx: Transaction, story: Story, rule: Rule, around: Surroundings) -> tuple[Story, bool] | None:
    """Join the run of this rule and target that is open already, or wait for it to close; None where there is none."""
    run, target = story.run, story.run.target or ""
    other = await tx.open_run(rule.name, target, drill=run.drill)
    if other is None or other.id == run.id:
        return None
    if not other.begun:
        await tx.hand_over(run.id, other.id)
        await tx.wake([other.id], around.now)
        because = f"run {other.id} waits for {target} already"
        return story.with_run(target=None).move(State.CANCELLED, around.now, Reason.JOINED, because), False
    because = f"run {other.id} on {target} has to close first"
    return story.with_run(target=None).rest(None, around.now, Reason.BUSY, because), True


async def _refuse(
    tx: Transaction, story: Story, rule: Rule, refusal: guard.Refusal, around: Surroundings, holder: str | None
) -> tuple[Story, bool]:
    """Refuse, but where only a revert of this very rule and target is in the way: that is waited for.

    It is a run of theirs that has begun, and whoever comes then is not refused but waits for it to close.
    """
    run, now = story.run, around.now
    other = await tx.run(holder) if refusal.reason is Reason.LOCK and holder is not None else None
    reverts = Origin.REVERT, run.rule, run.target
    if other is not None and (other.run.origin, other.run.rule, other.run.target) == reverts:
        because = f"run {holder}, which takes back what was done to {run.target}, has to close first"
        return story.rest(None, now, Reason.BUSY, because), True
    story, effect = refuse(story, rule, refusal, now)
    return story, effect is not None


def _starting_rung(rule: Rule, books: Books, around: Surroundings) -> int:
    """Start one rung above a success that is still remembered: a restart that has to be repeated is no remedy."""
    good = guard.success_before(rule, books, around.now)
    return 0 if good is None else good.rung + 1


def _past_the_last(story: Story, rule: Rule, rung: int) -> Story:
    because = f"{story.run.target} has come back after rung {rung}, the last one, had helped: a person has to look"
    return end(story, rule, State.FAILED, (Reason.LADDER, because))


async def _admit_revert(tx: Transaction, story: Story, rule: Rule, around: Surroundings) -> tuple[Story, bool]:
    """Let a revert begin as soon as nobody else holds the lock: it was decided when the change was made."""
    run, now, lock = story.run, around.now, rule.guards.lock
    try:
        name = run.target if lock is None else str(lock.render(scope_of(story, rule, around)))
    except (TemplateError, UnsafeValue, PendingValue):
        name = run.target
    question = Question(run=run.id, rule=rule.name, target=run.target or "", book=run.book, lock=name)
    holder = (await tx.books(question)).lock_holder
    if holder is not None:
        return story.rest(None, now, Reason.LOCK, f"run {holder} holds the lock {name}"), True
    return story.with_run(lock=name, due_at=None).move(State.RUNNING, now), False
