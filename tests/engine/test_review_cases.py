"""What a review of the whole rule language has found: seams between two features, each of which was right by itself."""

from __future__ import annotations

import asyncio
from typing import Any

from stage import START, Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.engine.occasions import Occasion
from remediator.model.run import Mode, Origin
from remediator.rules.cron import Schedule
from remediator.rules.standing import Storm
from remediator.store.protocol import Script

FACTS = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: app
    mode: approve
    facts:
      - {id: first, uses: test.read, retry: {attempts: 3, backoff: 5s}}
      - {id: second, uses: test.probe}
    steps: [{uses: test.write, with: {says: '{{ facts.second.n }}'}}]
"""


async def test_what_is_read_again_after_an_approval_is_all_read_again_though_a_read_had_to_be_repeated(
    stage: Stage,
) -> None:
    """A run that rests in between must not find what it had forgotten: the second fact is twelve minutes old."""
    await stage.rules(FACTS)
    stage.outcomes["test.probe"] = [{"n": 1}, {"n": 2}]
    await stage.fires()
    await stage.passes(720)
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="try again"), {}]
    run = await stage.run()
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "")
    await stage.passes(30)
    assert stage.used("test.probe") == 2
    assert (await stage.run())["state"] == "awaiting_approval", "the plan has changed"


ON_BLOCKED = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: app
    guard: {only_if: 'false'}
    steps: [{uses: test.write}]
    on_blocked: [{uses: test.notify, with: {says: one}}, {uses: test.notify, with: {says: two}}]
"""


async def test_what_follows_a_refusal_goes_on_when_a_pause_is_lifted_before_its_time(stage: Stage) -> None:
    """Till the pause would have ended, it would keep its target from everything else."""
    await stage.rules(ON_BLOCKED)
    stage.blocked["test.notify"] = asyncio.Event()
    await stage.fires()
    await controls.pause(stage.engine, "ann", "look", rule=None, target=None, span=8 * 3600.0)
    stage.blocked.pop("test.notify").set()
    await stage.passes(60)
    assert stage.used("test.notify") == 1
    await controls.resume(stage.engine, "ann", "fine", rule=None, target=None)
    await stage.settle()
    assert await stage.states() == [("blocked", "only_if")]


MEND = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"MORE}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: '{{ labels.app }}'}}]
"""


STEPS = "steps: [{uses: test.write, with: {says: '{{ labels.app }}'}}]"


def mend(more: str = "") -> str:
    return MEND.replace("MORE", more)


async def test_all_that_a_storm_has_stopped_get_their_second_chance_though_some_have_resolved(stage: Stage) -> None:
    """They are taken up some hundreds at a time, and a batch that is not full need not be the last."""
    await stage.rules(mend(), storm=Storm(alerts=2, per=60.0, hold=60.0))
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(520)))
    await stage.resolves(app="a1")
    await stage.passes(180)
    assert stage.used("test.write") == 519


async def test_a_second_chance_is_for_the_rule_as_it_is_now(stage: Stage) -> None:
    """What it no longer matches it does not act on."""
    await stage.rules(mend(), storm=Storm(alerts=2, per=60.0, hold=60.0))
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(3)))
    await stage.rules(mend(', app="a1"'))
    await stage.passes(180)
    assert stage.calls == [("test.write", "a1")]


async def test_a_storm_that_follows_another_takes_no_second_chance_away(stage: Stage) -> None:
    """What the first had stopped and nobody has looked at since is taken up when the second has passed."""
    await stage.rules(mend(), storm=Storm(alerts=2, per=60.0, hold=60.0))
    await stage.notify(*(stage.alert(app=f"a{n}") for n in range(3)))
    stage.engine.desk.draining = True  # nothing is claimed: the timer that is due is not looked at
    await stage.passes(121)
    stage.engine.desk.draining = False
    await stage.notify(*(stage.alert(app=f"b{n}") for n in range(3)))
    await stage.passes(180)
    assert stage.used("test.write") == 6


async def test_resolves_of_alerts_that_never_fired_here_are_no_storm(stage: Stage) -> None:
    """A daemon with a new store hears of many that are over: nothing begins to fire."""
    await stage.rules(mend(), storm=Storm(alerts=2, per=60.0, hold=60.0))
    await stage.notify(*(stage.alert(status="resolved", app=f"a{n}") for n in range(5)))
    await stage.fires(app="web")
    assert stage.calls == [("test.write", "web")]


PLACES = """
vars: {where: prod, drill: {where: sandbox}}
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: '{{ vars.where }}/{{ labels.app }}'
    priority: '{{ labels.priority }}'
    guard: {cooldown: 0s}
    steps: [{uses: 'test.WHAT', with: {says: '{{ vars.where }} {{ labels.app }}'}}]
"""


async def test_a_place_that_is_free_is_not_lost_to_a_drill_that_can_not_take_it(stage: Stage) -> None:
    """Drills have places of their own, and the more urgent one that waits for another drill stays waiting."""
    await stage.rules(PLACES.replace("WHAT", "write"), max_running=1)
    hold = stage.blocked["test.write"] = asyncio.Event()
    for app, priority in (("a", "P2"), ("b", "P2")):
        await stage.fires(app=app, priority=priority)
    for app in ("a", "b"):
        given = {"app": app, "priority": "P0"}
        await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, given=given, author="ann", drill=True))
        await stage.settle()
    assert [run["state"] for run in await stage.runs()] == ["running", "waiting", "running", "waiting"]
    drilling = (await stage.runs())[2]
    await controls.pause(stage.engine, "ann", "look", rule=None, target=drilling["target"], span=None)
    await stage.settle()
    hold.set()
    await stage.passes(60)
    live = [run["state"] for run in await stage.runs() if not run["drill"]]
    assert live == ["succeeded", "succeeded"]


CLOCK = """
rules:
  - name: tidy
    summary: Tidy up every ten minutes.
    schedule: '*/10 * * * *'
    facts: [{id: where, uses: test.probe}]
    target: '{{ facts.where.disk }}'
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: tidy}}]
"""


async def test_times_of_a_schedule_that_went_by_under_a_pause_are_not_made_up_for(stage: Stage) -> None:
    """Though their target is not known before their facts are read: one run waits, the others were missed."""
    stage.outcomes["test.probe"] = [{"disk": "sda"}]
    await stage.rules(CLOCK)
    await controls.pause(stage.engine, "ann", "look", rule=None, target=None, span=None)
    await stage.passes(7200)
    await controls.resume(stage.engine, "ann", "fine", rule=None, target=None)
    await stage.passes(1)
    assert stage.used("test.write") == 1


REVERT = """
rules:
  - name: widen
    summary: Give it more while it is slow.
    match: '{alertname="Down"}'
    target: app
    guard: {cooldown: 0s, BREAKER}
    steps: [{uses: test.write}]
    revert: {WHEN, steps: [{uses: test.undo}]}
"""


def widen(when: str, breaker: str = "limit: 30 per 1h") -> str:
    return REVERT.replace("WHEN", when).replace("BREAKER", breaker)


async def test_a_revert_that_is_moved_by_a_run_of_a_changed_rule_is_still_due(stage: Stage) -> None:
    """The one that waits keeps its rule, which knows nothing of alerts that resolve."""
    await stage.rules(widen("after: 1h"))
    await stage.fires(n="1")
    await stage.rules(widen("resolved: true"))
    await stage.fires(n="2")
    await stage.resolves(n="1")
    await stage.resolves(n="2")
    await stage.passes(2 * 3600)
    assert stage.used("test.undo") == 1


async def test_a_revert_that_fails_opens_no_breaker(stage: Stage) -> None:
    """It is no run that a breaker counts, and those that it had counted were answered by a reset."""
    await stage.rules(widen("after: 15m", "breaker: {failures: 1, per: 1h, reset: 10m}"))
    stage.outcomes["test.write"] = stage.outcomes["test.undo"] = [Outcome(Result.REFUSED, error="no")]
    await stage.fires(n="1")
    await stage.passes(1000)
    assert await stage.states() == [("failed", "step"), ("failed", "step")]
    laid = await stage.store.view(lambda tx: tx.controls(stage.clock.now()))
    assert laid == []


PATIENT = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: app
    mode: MODE
    guard: {cooldown: 0s, patience: 10m, unless_firing: ['{alertname="Network"}']}
    steps: [{uses: test.write}]
"""


async def test_patience_begins_anew_with_a_refusal_that_comes_after_the_first_has_cleared(stage: Stage) -> None:
    """A person was asked in between: what had been refused before is over."""
    await stage.rules(PATIENT.replace("MODE", "approve"))
    await stage.fires("Network")
    await stage.fires()
    await stage.passes(300)
    await stage.resolves("Network")
    await stage.passes(600)
    run = await stage.run()
    assert run["state"] == "awaiting_approval"
    stage.clock.time += 1
    await stage.fires("Network")
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "")
    await stage.passes(60)
    assert await stage.states() == [("waiting", "unless_firing")]


async def test_a_pause_uses_up_no_patience(stage: Stage) -> None:
    """On resume it waits for as long as was left."""
    await stage.rules(PATIENT.replace("MODE", "auto"))
    await stage.fires("Network")
    await stage.fires()
    await stage.passes(300)
    await controls.pause(stage.engine, "ann", "look", rule=None, target=None, span=None)
    await stage.passes(3600)
    await controls.resume(stage.engine, "ann", "fine", rule=None, target=None)
    await stage.passes(60)
    assert await stage.states() == [("waiting", "unless_firing")]
    await stage.passes(300)
    assert await stage.states() == [("blocked", "unless_firing")]


LADDER = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: app
    ladder:
      - {steps: [{uses: test.write, with: {says: one}}], verify: {within: 1m, checks: [{uses: test.check, expect: 'false'}]}}
      - {steps: [{uses: test.write, with: {says: two}}]}
"""


async def test_a_run_that_asked_for_its_first_rung_asks_for_its_next_though_the_mode_has_risen(stage: Stage) -> None:
    """Once it has begun, the mode may only fall."""
    await stage.rules(LADDER, mode=Mode.APPROVE)
    await stage.fires()
    run = await stage.run()
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "")
    await stage.settle()
    await stage.rules(LADDER, mode=Mode.AUTO)
    await stage.passes(120)
    assert stage.calls[0] == ("test.write", "one")
    assert ("test.write", "two") not in stage.calls


async def test_in_a_storm_nobody_is_told_of_each_target_that_has_come_back_past_its_last_rung(stage: Stage) -> None:
    """Nothing is done for them either way, and a storm gives one notice."""
    steps = "ladder: [{steps: [{uses: test.write}]}]\n    on_failure: [{uses: test.notify}]"
    await stage.rules(mend().replace(STEPS, steps), storm=Storm(alerts=4, per=60.0, hold=60.0))
    apps = [f"a{n}" for n in range(5)]
    for app in apps:
        await stage.fires(app=app)
        await stage.passes(60)
        await stage.resolves(app=app)
    await stage.passes(60)
    await stage.notify(*(stage.alert(app=app) for app in apps))
    assert (await stage.states())[5:] == [("blocked", "storm")] * 5
    assert stage.used("test.notify") == 0


SECRET = CLOCK.replace("facts: [{id: where, uses: test.probe}]", "confidential: true").replace(
    "{{ facts.where.disk }}", "x"
)


async def test_a_missed_time_of_a_schedule_names_the_run_that_was_open(stage: Stage) -> None:
    """By it a viewer is kept from what is confidential: the words name the target."""
    stage.blocked["test.write"] = asyncio.Event()
    await stage.rules(SECRET)
    await stage.passes(1200)
    (run,) = await stage.runs()
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    missed = [event for event in events if event.kind == "schedule.missed"]
    assert missed
    assert {event.run for event in missed} == {run["id"]}


async def test_a_schedule_that_is_due_while_its_rules_are_being_put_in_force_is_not_lost(stage: Stage) -> None:
    """Its timer is kept a moment before the desk knows the rule."""
    due = Schedule.of("*/10 * * * *").next_after(START)
    assert due is not None
    transact = stage.store.transact

    async def slowly(script: Script[Any]) -> Any:
        """Commit just before the time has come, and answer after it; others go on in between."""
        stage.store.transact = transact  # type: ignore[method-assign]
        stage.clock.time = due - 0.5
        kept = await transact(script)
        stage.clock.time = due
        stage.engine.look()
        await stage.settle()
        return kept

    stage.store.transact = slowly  # type: ignore[method-assign]
    await stage.rules(CLOCK)
    stage.outcomes["test.probe"] = [{"disk": "sda"}]
    await stage.passes(5)
    assert stage.used("test.write") == 1
