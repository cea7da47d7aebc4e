"""What a review of the whole rule language has found: seams between two features, each of which was right by itself."""

from __future__ import annotations

import asyncio

from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.engine.occasions import Occasion
from remediator.model.run import Origin
from remediator.rules.standing import Storm

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
