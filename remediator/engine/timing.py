"""Timing: what is due that belongs to no run yet. Schedules, and the end of a storm."""

from __future__ import annotations

import json

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
_SHORTLY: Seconds = 1.0
_AT_ONCE = 500  # alerts that a storm had stopped, in one transaction


async def set_schedules(tx: Transaction, rules: tuple[Rule, ...], now: Timestamp) -> None:
    """Make the timers those of the rules in force; a schedule that has not changed keeps its next time."""
    known = {timer.name: timer for timer in await tx.timers() if timer.name.startswith(_SCHEDULE)}
    for rule in rules:
        if rule.schedule is None:
            continue
        name, about = _SCHEDULE + rule.name, json.dumps(rule.definition["schedule"], sort_keys=True)
        before = known.pop(name, None)
        if before is None or before.about != about:
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
    """Begin a run at its time, once; a time that went by while nobody looked is recorded as missed."""
    now, name = taken.now, timer.name.removeprefix(_SCHEDULE)
    rule = desk.rules.by_name.get(name)
    if (
        rule is None or rule.schedule is None
    ):  # kept with rules that are about to be in force, which drop what is not theirs
        await tx.set_timer(Timer(timer.name, now + _SHORTLY, timer.about))
        return
    missed: NotProposed | None = None
    if now - timer.due_at > _GRACE:
        missed = NotProposed("nothing was running then")
    else:
        try:
            story = await propose(tx, rule, Occasion(Origin.SCHEDULE), desk.standing, now)
        except NotProposed as error:
            missed = error
        else:
            taken.stories.append(story)
            taken.due = True
    if missed is not None:
        data = {"rule": name, "time": format_rfc3339(timer.due_at), "because": str(missed)}
        event = Event(at=now, kind=EventKind.MISSED, run=missed.run, data=data)
        taken.events.append(event)
        await tx.append([event])
    await _set(tx, timer, rule, now)


async def _set(tx: Transaction, timer: Timer, rule: Rule, now: Timestamp) -> None:
    at = None if rule.schedule is None else rule.schedule.next_after(now)
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
