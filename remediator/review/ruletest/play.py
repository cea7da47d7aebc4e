"""Play: one test in a world of its own, from its start until nothing is left to happen."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import msgspec

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.engine.laying import STORM_TIMER
from remediator.errors import MalformedBody
from remediator.model.alert import AlertStatus
from remediator.model.run import Mode, Origin, Phase, Reason, State, Step, StepState
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_duration, format_rfc3339
from remediator.receive import Limits, decode
from remediator.review.ruletest.form import AlertForm, AnswerForm, PauseForm, RuleTestForm, last_told
from remediator.review.ruletest.load import RuleTest
from remediator.review.stubs import Answer, Answers
from remediator.review.virtual import run_virtual
from remediator.review.world import World, open_world
from remediator.store.protocol import RunFilter, StoredEvent, Transaction

_OPEN_FOR: Seconds = 30 * 86_400.0  # so long at most after the last thing that is told, for what is open then
_ALL = 1_000_000
_NEVER = "0001-01-01T00:00:00Z"

Happening: TypeAlias = Callable[[World], Awaitable[Sequence[str]]]  # gives what came to nothing, in words


@dataclass(frozen=True, slots=True)
class Seen:
    """One run, in the terms of an expectation."""

    at: Seconds | None  # from the start of the test; None where it has not begun, and may still
    rule: str
    target: str | None
    outcome: State
    reason: Reason | None
    steps: tuple[str, ...]
    mode: Mode
    rung: int
    because: str | None


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a test."""

    seen: tuple[Seen, ...] = ()  # in the order in which they were proposed
    stories: tuple[Story, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    notes: tuple[str, ...] = ()  # what people tried in vain


def play(test: RuleTest, catalog: Catalog) -> Played:
    """Run a test over the engine; `catalog` is the stubbed one that its rules were read with.

    Raises what stops the engine, and MalformedBody for alerts that the webhook would not take.
    """
    return run_virtual(_play(test, catalog), start=test.form.start)


async def _play(test: RuleTest, catalog: Catalog) -> Played:
    form = test.form
    settings = Answers({name: _answers(told) for name, told in form.results.items()}).settings
    async with open_world(catalog, test.rules.rules, test.standing, settings) as world:
        notes: list[str] = []
        for at, happenings in sorted(_happenings(form).items()):
            await world.until(form.start + at)
            in_vain = await asyncio.gather(*(happening(world) for happening in happenings))
            notes += [f"at {format_duration(at)}: {words}" for each in in_vain for words in each]
        await _until_quiet(world, form.start + last_told(form))
        played = await world.store.view(partial(_look, start=form.start))
        return replace(played, notes=tuple(notes))


def _answers(told: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Answer]:
    return [_answer(told)] if isinstance(told, Mapping) else [_answer(each) for each in told]


def _answer(told: Mapping[str, Any]) -> Answer:
    """Read a result. With an `error` alone nothing came back; with more, the step was done and the answer is no."""
    seconds = float(told.get("seconds", 0))
    if "error" not in told:
        return Answer(Outcome(Result.OK, told), seconds)
    rest = {key: value for key, value in told.items() if key != "error"}
    kind = Result.REFUSED if rest.keys() - {"seconds"} else Result.ERROR
    return Answer(Outcome(kind, rest if kind is Result.REFUSED else None, told["error"]), seconds)


# --- what happens in a test ---


def _happenings(form: RuleTestForm) -> Mapping[Seconds, Sequence[Happening]]:
    """Give what happens at each instant, from the start of the test: people first, then alerts, resolved ones first."""
    found: defaultdict[Seconds, list[Happening]] = defaultdict(list)
    for pause in form.pause:
        found[pause.at].append(partial(_pause, pause=pause))
    for yes, answers in ((True, form.approve), (False, form.reject)):
        for answer in answers:
            found[answer.at].append(partial(_answer_asked, answer=answer, yes=yes))
    told: defaultdict[tuple[Seconds, str], list[tuple[AlertForm, AlertStatus]]] = defaultdict(list)
    for alert in form.alerts:
        name = alert.labels.get("alertname", "")
        if alert.resolves is not None:
            told[alert.resolves, name].insert(0, (alert, AlertStatus.RESOLVED))
        told[alert.fires, name].append((alert, AlertStatus.FIRING))
    for (at, name), alerts in told.items():
        found[at].append(partial(_notify, body=_body(name, alerts, form.start)))
    return found


async def _pause(world: World, pause: PauseForm) -> Sequence[str]:
    await controls.pause(
        world.engine, "somebody", "a pause of the test", rule=pause.rule, target=pause.target, span=pause.for_
    )
    return ()


async def _answer_asked(world: World, answer: AnswerForm, *, yes: bool) -> Sequence[str]:
    """Answer all runs of a rule that ask; one who may not answer is refused, as in life, and nothing comes of it."""
    asking = await world.store.view(lambda tx: tx.runs(RunFilter(state=State.AWAITING_APPROVAL, rule=answer.rule)))
    refused = [] if asking else [f"{answer.by} was not asked about {answer.rule}"]
    for run in asking:
        try:
            if yes:
                await controls.approve(world.engine, run.id, run.plan_hash or "", answer.by, "in the test")
            else:
                await controls.reject(world.engine, run.id, answer.by, "in the test")
        except controls.Impossible as error:
            refused.append(str(error))
    return refused


async def _notify(world: World, body: bytes) -> Sequence[str]:
    """Post a body, as to the webhook."""
    notification = decode(body, world.loop.time(), Limits())
    if notification.refused:
        raise MalformedBody("; ".join(each.why for each in notification.refused))
    await world.engine.accept(notification)
    return ()


def _body(name: str, alerts: Sequence[tuple[AlertForm, AlertStatus]], start: Timestamp) -> bytes:
    """Write a notification as Alertmanager does that groups by `alertname`."""
    told = [
        {
            "status": status,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": format_rfc3339(start + alert.fires),
            "endsAt": _NEVER if status is AlertStatus.FIRING else format_rfc3339(start + (alert.resolves or 0.0)),
            "generatorURL": "",
            "fingerprint": "",
        }
        for alert, status in alerts
    ]
    body = {
        "version": "4", "receiver": "remediator", "groupKey": f'{{}}:{{alertname="{name}"}}', "truncatedAlerts": 0,
        "groupLabels": {"alertname": name}, "alerts": told,
    }  # fmt: skip
    return msgspec.json.encode(body)


async def _until_quiet(world: World, last: Timestamp) -> None:
    """Let time pass until nothing is left to happen; schedules, which never end, go as far as the test tells."""
    while (due := await world.next()) is not None:
        if due > last + (_OPEN_FOR if await world.store.view(_unfinished) else 0.0):
            return
        world.loop.jump(due)


async def _unfinished(tx: Transaction) -> bool:
    """Tell whether a run is open, or the end of a storm is waited for."""
    return bool(await tx.open_counts()) or any(timer.name == STORM_TIMER for timer in await tx.timers())


# --- what came of it ---


async def _look(tx: Transaction, start: Timestamp) -> Played:
    runs = await tx.runs(RunFilter(limit=_ALL))
    stories = tuple([story for run in reversed(runs) if (story := await tx.run(run.id)) is not None])
    events = tuple(await tx.events(0, _ALL))
    reverts = [story for story in stories if story.run.origin is Origin.REVERT]
    seen = [_seen(story, reverts, start) for story in stories if story.run.origin is not Origin.REVERT]
    return Played(tuple(seen), stories, events)


def _seen(story: Story, reverts: Sequence[Story], start: Timestamp) -> Seen:
    """Tell of a run; what took its change back is told with it, and after it: a revert begins when the run has ended."""
    run, began = story.run, _began(story)
    later = [each for each in reverts if each.run.reverts == run.id]
    taken_back = [step for each in later for step in sorted(each.steps, key=_place) if step.phase not in _COPIED]
    return Seen(
        at=None if began is None else began - start,
        rule=run.rule,
        target=run.target,
        outcome=run.state,
        reason=run.reason,
        steps=tuple(step.uses for step in (*sorted(story.steps, key=_place), *taken_back) if _used(step)),
        mode=run.mode,
        rung=run.rung,
        because=run.because,
    )


def _began(story: Story) -> Timestamp | None:
    """Say when its first step began, or, where none did, when that was decided for good."""
    run = story.run
    if run.admitted_at is None:
        return run.ended_at
    begun = [step.started_at for step in story.steps if step.phase is Phase.STEPS]
    return min((at for at in (run.started_at, *begun) if at is not None), default=run.ended_at)


_COPIED = frozenset({Phase.FACTS, Phase.STEPS})  # a revert knows what the run knew that it takes back
_PHASES = {phase: place for place, phase in enumerate(Phase)}


def _place(step: Step) -> tuple[int, int, int, int]:
    return (_PHASES[step.phase], step.rung, step.position, step.item)


def _used(step: Step) -> bool:
    """Tell whether a step counts among those that a run used: one that was begun, or, in a dry run, planned."""
    if step.phase in {Phase.FACTS, Phase.VERIFY}:
        return False
    return step.started_at is not None or step.state is StepState.PLANNED
