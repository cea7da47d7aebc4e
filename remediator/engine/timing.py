"""Timing: what is due that belongs to no run yet. Schedules, and the end of a storm."""

from __future__ import annotations

import json
from collections.abc import Sequence

import structlog

from remediator.engine.desk import Desk
from remediator.engine.intake import Taken, take_up
from remediator.engine.laying import STORM_TIMER
from remediator.engine.occasions import NotProposed, Occasion, propose
from remediator.model.control import ControlKind
from remediator.model.run import Event, EventKind, Origin
from remediator.model.time import Seconds, Timestamp, format_rfc3339
from remediator.rules.rule import Rule
from remediator.store.protocol import Timer, Transaction

_log = structlog.get_logger("remediator")

_SCHEDULE = "schedule:"
_GRACE: Seconds = 60.0  # a time that is later than that has been missed: cron begins nothing for it, nor do we
_COUNTED: Seconds = 7 * 86_400.0  # of missed times, in one transaction and one event
_SHORTLY: Seconds = 1.0
_EDITED = "no daemon looked then, and its schedule has been edited since"
_AT_ONCE = 500  # alerts that a storm had stopped, in one transaction


async def set_schedules(tx: Transaction, rules: tuple[Rule, ...], now: Timestamp) -> None:
    """Make the timers those of the rules in force; a schedule that has not changed keeps its next time.

    Of one that was edited while nobody looked, the next time that it had before is known to be missed; what would have come after
    that by the old text, or by the new one, is nobody's to say.
    """
    known = {timer.name: timer for timer in await tx.timers() if timer.name.startswith(_SCHEDULE)}
    for rule in rules:
        if rule.schedule is None:
            continue
        name, about = _SCHEDULE + rule.name, json.dumps(rule.definition["schedule"], sort_keys=True)
        before = known.pop(name, None)
        if before is None or before.about != about:
            if before is not None and before.due_at < now:
                await tx.append([_missed(now, rule, [before.due_at], NotProposed(_EDITED))])
            await _set(tx, Timer(name, now, about), rule, now)
    for name in known:
        await tx.drop_timer(name)


async def fire(tx: Transaction, desk: Desk, taken: Taken) -> None:
    """Do what the timers ask for that are due."""
    for timer in await tx.timers():
        if timer.due_at > taken.now:
            continue
        if timer.name == STORM_TIMER:
            await _after_storm(tx, desk, timer, taken)
        elif timer.name.startswith(_SCHEDULE):
            await _scheduled(tx, desk, timer, taken)


async def _scheduled(tx: Transaction, desk: Desk, timer: Timer, taken: Taken) -> None:
    """Begin a run at its time, once; the times that went by while nobody looked are recorded as missed."""
    now, name = taken.now, timer.name.removeprefix(_SCHEDULE)
    rule = desk.rules.by_name.get(name)
    if (
        rule is None or rule.schedule is None
    ):  # kept with rules that are about to be in force, which drop what is not theirs
        await tx.set_timer(Timer(timer.name, now + _SHORTLY, timer.about))
        return
    # After a long outage the rest comes with the next look, so that counting it keeps nobody waiting.
    until = now if now - timer.due_at <= _COUNTED + _GRACE else timer.due_at + _COUNTED
    *missed, last = timer.due_at, *rule.schedule.between(timer.due_at, until)
    in_time = now - last <= _GRACE
    if not in_time:
        missed.append(last)
    if missed:
        await _record(tx, rule, missed, NotProposed("no daemon looked then"), taken)
    if in_time:
        await _begin(tx, rule, desk, last, taken)
    await _set(tx, timer, rule, until)


async def _begin(tx: Transaction, rule: Rule, desk: Desk, time: Timestamp, taken: Taken) -> None:
    try:
        story = await propose(tx, rule, Occasion(Origin.SCHEDULE), desk.standing, taken.now)
    except NotProposed as error:
        await _record(tx, rule, [time], error, taken)
    else:
        taken.stories.append(story)
        taken.due = True


async def _record(tx: Transaction, rule: Rule, times: Sequence[Timestamp], because: NotProposed, taken: Taken) -> None:
    """Record times that were missed for one reason, as one event: an outage must not fill the history."""
    event = _missed(taken.now, rule, times, because)
    taken.events.append(event)
    await tx.append([event])


def _missed(now: Timestamp, rule: Rule, times: Sequence[Timestamp], because: NotProposed) -> Event:
    data = {
        "rule": rule.name, "times": len(times), "first": format_rfc3339(times[0]), "last": format_rfc3339(times[-1]),
        "because": str(because),
    }  # fmt: skip
    return Event(at=now, kind=EventKind.MISSED, run=because.run, data=data)


async def _set(tx: Transaction, timer: Timer, rule: Rule, after: Timestamp) -> None:
    at = None if rule.schedule is None else rule.schedule.next_after(after)
    if at is None:
        await tx.drop_timer(timer.name)
    else:
        await tx.set_timer(Timer(timer.name, at, timer.about))


async def _after_storm(tx: Transaction, desk: Desk, timer: Timer, taken: Taken) -> None:
    """Give what a storm has stopped its second chance, so many at a time, once it has passed."""
    laid = next((each for each in await tx.controls(taken.now) if each.kind is ControlKind.STORM), None)
    if laid is not None and laid.until is not None:
        await tx.set_timer(Timer(timer.name, laid.until, timer.about))
        return
    stopped = await tx.second_chances(float(timer.about), _AT_ONCE)
    if not stopped:
        await tx.drop_timer(timer.name)
    pairs = [
        (rule, episode) for name, episode in stopped for rule in desk.index.match(episode.labels) if rule.name == name
    ]
    await take_up(tx, pairs, desk.standing, taken, second_chance=True)
