"""Runs that no alert opens: by the clock, by hand, as a drill, and what the daemon has to say for itself."""

from __future__ import annotations

import pytest
from stage import START, Stage

from remediator.engine import controls
from remediator.engine.occasions import NotProposed, Occasion
from remediator.model.run import Mode, Origin
from remediator.rules.compile import check_rule
from remediator.rules.cron import Schedule
from remediator.rules.rule import Breaker
from remediator.rules.standing import Storm
from remediator.store.protocol import RunFilter

CLOCK = """
rules:
  - name: tidy
    summary: Tidy up every ten minutes.
    schedule: SCHEDULE
    target: disk
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: tidy}}]
"""

HAND = """
vars: {where: prod, drill: {where: sandbox}}
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    for: 10m
    target: '{{ vars.where }}/{{ labels.app }}'
    guard: {cooldown: 10m}
    steps: [{uses: test.write, with: {says: '{{ vars.where }} {{ labels.app }}'}}]
"""


def clock(schedule: str = '"*/10 * * * *"') -> str:
    return CLOCK.replace("SCHEDULE", schedule)


def until_next(schedule: str = "*/10 * * * *") -> float:
    at = Schedule.of(schedule).next_after(START)
    assert at is not None
    return at - START


# -- schedules --


async def test_a_schedule_starts_a_run_at_each_of_its_times_once(stage: Stage) -> None:
    """And not before."""
    await stage.rules(clock())
    await stage.passes(until_next() - 1)
    assert stage.calls == []
    await stage.passes(1)
    assert stage.used("test.write") == 1
    await stage.passes(1800)
    assert stage.used("test.write") == 4
    assert {run["origin"] for run in await stage.runs()} == {"schedule"}


async def test_an_alert_begins_no_rule_that_has_a_schedule(stage: Stage) -> None:
    """It binds no label, and is still not for every alert."""
    await stage.rules(clock())
    await stage.fires(app="web")
    assert await stage.runs() == []


@pytest.mark.fault("a missed schedule")
async def test_a_time_that_was_missed_is_recorded_and_begins_nothing(stage: Stage) -> None:
    """As cron has it: what was down then does not catch up."""
    await stage.rules(clock())
    rules, standing = stage.engine.desk.rules, stage.standing
    await stage.stop()
    stage.clock.time += 3600
    stage.clock.parked.clear()
    await stage.start()
    await stage.engine.adopt(rules, standing, {})
    await stage.settle()
    assert stage.calls == []
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    (missed,) = [event for event in events if event.kind == "schedule.missed"]
    assert missed.data["rule"] == "tidy"
    await stage.passes(600)
    assert stage.used("test.write") == 1


async def test_a_time_survives_a_restart_just_before_it(stage: Stage) -> None:
    """The next time is a row."""
    await stage.rules(clock())
    await stage.passes(until_next() - 5)
    await stage.crash()
    await stage.passes(5)
    assert stage.used("test.write") == 1


async def test_a_schedule_that_is_still_at_work_is_missed_and_not_doubled(stage: Stage) -> None:
    """One open run for each rule and target."""
    import asyncio

    await stage.rules(clock())
    stage.blocked["test.write"] = asyncio.Event()
    await stage.passes(until_next() + 600)
    assert stage.used("test.write") == 1
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    assert [event.data["because"][-12:] for event in events if event.kind == "schedule.missed"] == ["open already"]
    stage.blocked.pop("test.write").set()
    await stage.settle()


async def test_a_schedule_goes_on_in_a_storm_and_is_held_by_a_pause(stage: Stage) -> None:
    """A storm is of alerts."""
    await stage.rules(clock(), storm=Storm(alerts=1, per=60.0, hold=86_400.0))
    await stage.notify(stage.alert(app="a"), stage.alert(app="b"))
    await stage.passes(until_next())
    assert stage.used("test.write") == 1
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(601)
    assert stage.used("test.write") == 1
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert stage.used("test.write") == 2


async def test_another_schedule_or_none_takes_effect_at_once(stage: Stage) -> None:
    """The row of the old one goes."""
    await stage.rules(clock())
    await stage.rules(clock("{cron: '0 0 1 1 *', timezone: Europe/Berlin}"))
    await stage.passes(1200)
    assert stage.calls == []
    await stage.rules("rules: []")
    assert await stage.store.view(lambda tx: tx.timers()) == []


@pytest.mark.parametrize("mode", [Mode.DRY_RUN, Mode.OFF])
async def test_a_schedule_obeys_the_mode(stage: Stage, mode: Mode) -> None:
    """Dry-run plans, off begins nothing."""
    await stage.rules(clock(), mode=mode)
    await stage.passes(until_next())
    assert await stage.states() == ([("planned", None)] if mode is Mode.DRY_RUN else [])
    assert stage.calls == []


# -- by hand --


async def test_a_run_by_hand_goes_through_the_same_guards(stage: Stage) -> None:
    """`for` counts by alert, and there is none; a second one cools down."""
    await stage.rules(HAND)
    by = Occasion(Origin.HAND, {"app": "web"}, "ann", "looks ill")
    await controls.by_hand(stage.engine, "mend", by)
    await stage.settle()
    assert stage.calls == [("test.write", "prod web")]
    await controls.by_hand(stage.engine, "mend", by)
    await stage.settle()
    assert await stage.states() == [("succeeded", None), ("blocked", "cooldown")]
    events = await stage.store.view(lambda tx: tx.events(0, 100))
    proposed = next(event for event in events if event.kind == "run.proposed")
    assert (proposed.data["author"], proposed.data["given_reason"]) == ("ann", "looks ill")


async def test_a_run_by_hand_is_refused_where_one_is_open_or_the_mode_is_off(stage: Stage) -> None:
    """With the reason."""
    import asyncio

    await stage.rules(HAND)
    stage.blocked["test.write"] = asyncio.Event()
    by = Occasion(Origin.HAND, {"app": "web"}, "ann", "looks ill")
    await controls.by_hand(stage.engine, "mend", by)
    await stage.settle()
    with pytest.raises(NotProposed, match="open already"):
        await controls.by_hand(stage.engine, "mend", by)
    stage.blocked.pop("test.write").set()
    await stage.rules(HAND, mode=Mode.OFF)
    with pytest.raises(NotProposed, match="is off"):
        await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, {"app": "other"}))
    with pytest.raises(KeyError):
        await controls.by_hand(stage.engine, "no-such", by)


async def test_a_label_that_was_not_given_blocks_a_run_by_hand(stage: Stage) -> None:
    """What is not there is an error, never an empty text."""
    await stage.rules(HAND)
    await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, {}, "ann", "x"))
    await stage.settle()
    assert await stage.states() == [("blocked", "template_error")]


async def test_p10_a_label_that_was_given_has_to_be_what_the_rule_is_for(stage: Stage) -> None:
    """A person may do no more by a value than an alert; what was not given is for the templates to miss."""
    await stage.rules(HAND.replace('alertname="Down"', 'alertname="Down", app=~"[a-z]+"'))
    for given in ({"app": "../x"}, {"app": "web", "alertname": "Up"}):
        with pytest.raises(NotProposed, match=r"mend is not for (app='../x'|alertname='Up'): its `match` has "):
            await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, given, "ann", "x"))
    fits = {"app": "web", "alertname": "Down", "zone": "a"}
    await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, fits, "ann", "x"))
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


async def test_a_run_by_hand_that_has_only_its_alerts_to_look_at_says_that_there_are_none(stage: Stage) -> None:
    """It proves nothing, and what would have been missing is told."""
    await stage.rules(HAND + "    verify: {within: 1m, resolved: true}\n")
    await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, {"app": "web"}, "ann", "looks ill"))
    await stage.passes(61)
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "inconclusive")
    assert "no alert began the run, so none can have resolved" in run["because"]


async def test_a_drill_has_its_own_vars_and_books(stage: Stage) -> None:
    """It uses up nothing of the live books, and doesn't see them."""
    await stage.rules(HAND)
    drill = Occasion(Origin.HAND, {"app": "web"}, "ann", "drill", drill=True)
    await controls.by_hand(stage.engine, "mend", drill)
    await stage.settle()
    await controls.by_hand(stage.engine, "mend", Occasion(Origin.HAND, {"app": "web"}, "ann", "real"))
    await stage.settle()
    await controls.by_hand(stage.engine, "mend", drill)
    await stage.settle()
    assert stage.calls == [("test.write", "sandbox web"), ("test.write", "prod web")]
    assert [(run["state"], run["drill"]) for run in await stage.runs()] == [
        ("succeeded", True), ("succeeded", False), ("blocked", True),
    ]  # fmt: skip


# -- notices --


def notices(stage: Stage, text: str = "{{ notice.kind }}: {{ notice.text }}"):
    definition = {
        "name": "notices", "summary": "x", "match": "all", "target": "notices", "vars": {},
        "steps": [{"uses": "test.notify", "with": {"says": text}}],
    }  # fmt: skip
    rule, faults = check_rule(definition, stage.catalog, None)
    assert rule is not None, faults
    return rule


def told(stage: Stage) -> list[str]:
    return [says for name, says in stage.calls if name == "test.notify"]


WRITES = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    MORE
    steps: [{uses: test.write}]
"""


async def test_what_the_daemon_has_to_say_goes_to_the_steps_under_notices(stage: Stage) -> None:
    """An approval that waits, even under a pause; and the pause."""
    await stage.rules(WRITES.replace("MORE", "mode: approve"), notices=notices(stage))
    await stage.fires(app="web")
    run = await stage.run()
    assert told(stage)[0].startswith("approval: mend asks whether it may act on app/web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.settle()
    assert told(stage)[1].startswith("pause: paused by ann: deploy")
    assert (await stage.run())["id"] == run["id"], "notices are not listed among the runs"
    listed = await stage.store.view(lambda tx: tx.runs(RunFilter(notices=True)))
    assert sorted(each.origin for each in listed) == ["alert", "notice", "notice"]


async def test_only_the_kinds_that_are_wanted_are_told(stage: Stage) -> None:
    """`notices.events` names them."""
    await stage.rules(
        WRITES.replace("MORE", "mode: approve"), notices=notices(stage), notice_events=frozenset({"pause"})
    )
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.settle()
    assert [each.split(":")[0] for each in told(stage)] == ["pause"]


async def test_a_confidential_rule_tells_rule_priority_and_link_alone(stage: Stage) -> None:
    """Its target and its alert may say too much."""
    await stage.rules(
        WRITES.replace("MORE", "mode: approve\n    confidential: true"),
        notices=notices(stage, "{{ notice.text }} {{ notice.target }}"), public_url="https://r.example",
    )  # fmt: skip
    await stage.fires(app="web")
    run = await stage.run()
    assert told(stage) == [f"approval: mend (P2) https://r.example/runs/{run['id']} "]


async def test_storms_breakers_unknown_runs_and_held_reverts_are_told(stage: Stage) -> None:
    """Each once."""
    import asyncio

    more = "revert: {after: 10m, steps: [{uses: test.undo}]}"
    await stage.rules(
        WRITES.replace("MORE", more), notices=notices(stage), breaker=Breaker(1, 3600.0, None),
        storm=Storm(alerts=2, per=60.0, hold=60.0),
    )  # fmt: skip
    await stage.fires(app="a")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=1200.0)
    await stage.passes(700)
    assert [each.split(":")[0] for each in told(stage)] == ["pause", "revert_held"]
    await stage.passes(600)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="b")
    await stage.crash()
    stage.blocked.pop("test.write")
    await stage.passes(1)
    assert sorted(each.split(":")[0] for each in told(stage)[2:]) == ["breaker", "unknown"]
    assert [each for each in told(stage) if each.startswith("breaker") and "`remediator resume --control 0" in each]
    await stage.notify(*(stage.alert(app=f"c{n}") for n in range(3)))
    await stage.settle()
    assert told(stage)[-1].startswith("storm: a storm: more than 2 alerts")


async def test_a_notice_that_is_interrupted_is_not_sent_twice(stage: Stage) -> None:
    """It is unknown whether it arrived, like any other step that must not be repeated."""
    import asyncio

    await stage.rules(WRITES.replace("MORE", "mode: approve"), notices=notices(stage))
    stage.blocked["test.notify"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.crash()
    stage.blocked.pop("test.notify")
    await stage.passes(60)
    assert len(told(stage)) == 1


async def test_that_the_store_is_away_is_told_without_it(stage: Stage) -> None:
    """It can't be kept, so it is told at once."""
    from remediator.engine.noticing import Notice
    from remediator.errors import StoreError

    await stage.rules("rules: []", notices=notices(stage))

    async def away(script: object) -> None:
        raise StoreError("no space left")

    stage.store.transact = away  # type: ignore[method-assign]
    await stage.engine.say(Notice("store", "the store can't be written"))
    assert told(stage) == ["store: the store can't be written"]
    del stage.store.transact
