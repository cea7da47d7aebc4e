"""The report when it is asked for, and by the clock: what it is made of is read from the store here."""

from __future__ import annotations

import msgspec
import structlog

from remediator.engine import Engine
from remediator.engine.noticing import Notice, notice_story
from remediator.engine.replicas import HEARD
from remediator.model.run import EventKind, Origin, Run, State
from remediator.model.time import Seconds, Timestamp
from remediator.review.doing import PHASES, ActionOf, what
from remediator.review.report import DRILLED_WITHIN, Report, Verdict
from remediator.review.summing import Material, report_of, verdict_of
from remediator.review.wording import as_markdown
from remediator.rules.cron import Schedule
from remediator.rules.rule import RuleSet
from remediator.store.protocol import REPORT_TIMER, RunFilter, Timer, Transaction

_log = structlog.get_logger("remediator")

NIGHT: Seconds = 86_400.0  # what a report is about unless somebody says otherwise
_MOST = 20_000  # runs that a report looks at, of those that ended; as many of each state of those that are open


class _Course(msgspec.Struct, frozen=True):
    """What the timer of the report knows: the schedule that it was reckoned from, and what was told last."""

    schedule: str
    timezone: str
    told_until: Timestamp  # where the next report begins


async def read_report(engine: Engine, since: Timestamp, now: Timestamp) -> Report:
    """Make the report of a span that ends now from the store's records. Raises StoreError."""
    rules, action_of = engine.desk.rules, engine.desk.action

    async def script(
        tx: Transaction,
    ) -> Report:  # summed up here too: it takes a while, and here it keeps nobody waiting
        return report_of(await _read(tx, rules, action_of, since, now), since, now)

    return await engine.store.view(script)


async def _read(tx: Transaction, rules: RuleSet, action_of: ActionOf, since: Timestamp, now: Timestamp) -> Material:
    found = [await tx.runs(RunFilter(ended_since=since, notices=True, limit=_MOST))]
    for state in State:  # one short index scan each, instead of a walk over all runs there are
        if state.open:
            found.append(await tx.runs(RunFilter(state=state, open_only=True, notices=True, limit=_MOST)))
    runs = [run for some in found for run in some]
    confidential, whole = await _confidential(tx, rules, runs), all(len(some) < _MOST for some in found)
    begun = [run for run in runs if run.started_at is not None and run.origin is not Origin.NOTICE]
    steps = await tx.steps_of([run.id for run in begun], PHASES)
    done = {run.id: what(run, steps.get(run.id, ()), action_of) for run in begun}
    resolved = await tx.resolved_at([run.id for run in runs if run.by_alert and verdict_of(run) is Verdict.REFUSED])
    missed = [each.data for each in await tx.events_since(EventKind.MISSED, since, _MOST)]
    laid = await tx.controls(now)
    refused = {each.host: each.refused for each in await tx.replicas(now - HEARD) if each.refused is not None}
    good = RunFilter(state=State.SUCCEEDED, ended_since=now - DRILLED_WITHIN, drills=True, limit=_MOST)
    drilled = frozenset(run.rule for run in await tx.runs(good))
    return Material(
        runs, rules.rules, laid, confidential, whole, what=done, resolved=resolved, drilled=drilled, refused=refused,
        missed=missed,
    )  # fmt: skip


async def _confidential(tx: Transaction, rules: RuleSet, runs: list[Run]) -> frozenset[str]:
    """Name the rules that are confidential now, or were when one of the runs began; of an unknown one nothing is told."""
    names = {rule.name for rule in rules.rules if rule.confidential}
    known = {rule.hash for rule in rules.rules}
    for rule_hash, name in {run.rule_hash: run.rule for run in runs}.items():
        if rule_hash not in known:
            definition = await tx.rule_definition(rule_hash)
            if definition is None or definition.get("confidential", False):
                names.add(name)
    return frozenset(names)


async def report_when_due(engine: Engine) -> bool:
    """Give the report as a notice when its time has come, and tell whether it had. Raises StoreError.

    A time that went by while no daemon ran is made up for, by one report over all of it.
    """
    now, standing = engine.clock.now(), engine.desk.standing
    schedule, rule = standing.report_at, standing.report
    timer = await engine.store.view(_timer)
    if schedule is None or rule is None:
        if timer is not None:
            await engine.store.transact(lambda tx: tx.drop_timer(REPORT_TIMER))
        return False
    course = None if timer is None else msgspec.json.decode(timer.about, type=_Course)
    if timer is None or course is None or (course.schedule, course.timezone) != (schedule.text, str(schedule.zone)):
        first = _next(schedule, now - NIGHT if course is None else course.told_until, now)
        await engine.store.transact(lambda tx: tx.set_timer(first))
        return False
    if now < timer.due_at:
        return False
    report = await read_report(engine, min(course.told_until, now), now)
    notice = Notice("report", as_markdown(report))

    async def script(tx: Transaction) -> bool:
        if await _timer(tx) != timer:
            return False  # it was given meanwhile
        await tx.add([notice_story(rule, notice, standing.public_url, now)])
        await tx.set_timer(_next(schedule, now, now))
        return True

    given = await engine.store.transact(script)
    if given:
        engine.look()
        _log.info("report given", since=report.since, until=report.until)
    return given


async def _timer(tx: Transaction) -> Timer | None:
    return next((timer for timer in await tx.timers() if timer.name == REPORT_TIMER), None)


def _next(schedule: Schedule, told_until: Timestamp, now: Timestamp) -> Timer:
    due_at = schedule.next_after(now)
    if due_at is None:
        raise AssertionError("the configuration takes no schedule that never comes")
    about = msgspec.json.encode(_Course(schedule.text, str(schedule.zone), told_until)).decode()
    return Timer(REPORT_TIMER, due_at, about)
