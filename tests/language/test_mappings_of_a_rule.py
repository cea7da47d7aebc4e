"""Every key below `verify`, `approval`, `ladder`, `revert`, `schedule` and a list of modes."""

from __future__ import annotations

import pytest
from language.writing import CHECK, WRITE, Load, faults, file, only, rule, says
from stage import START, Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.engine.controls import Impossible
from remediator.intervals import IntervalForm
from remediator.model.run import Mode
from remediator.rules.cron import Schedule
from remediator.rules.rule import Verify
from remediator.rules.windows import Window

UP, DOWN = {"up": True}, {"up": False}


# -- verify --


async def verified(stage: Stage, said: str, *seen: object) -> None:
    """Let a run verify, which sees these things one after the other."""
    await stage.rules(
        file(rule(f"verify: {{{said}}}", "undo: [{uses: test.undo}]", "on_failure: [{uses: test.notify}]"))
    )
    stage.outcomes["test.check"] = list(seen)
    await stage.fires(app="web")


async def test_verify_within(stage: Stage, load: Load) -> None:
    """The latest that all must hold: 5m by default; no data till then is `inconclusive`, which undoes nothing."""
    await verified(stage, "within: 1m, checks: [{uses: test.check, expect: result.up}]", DOWN)
    await stage.passes(59)
    assert await stage.states() == [("verifying", None)]
    await stage.passes(1)
    assert await stage.states() == [("failed", "verify")]
    assert stage.used("test.undo") == 1
    await stage.passes(300)
    await verified(
        stage, "within: 1m, checks: [{uses: test.check, expect: result.up}]", Outcome(Result.ERROR, error="?")
    )
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    assert (await stage.states())[-1] == ("failed", "inconclusive")
    assert (stage.used("test.undo"), stage.used("test.notify")) == (1, 2)
    assert Verify().within == only(load(file(rule("verify: {resolved: true}")))).rungs[0].verify.within == 300.0


async def test_verify_every(stage: Stage, load: Load) -> None:
    """How often the checks are polled: 15s by default."""
    await verified(stage, "every: 20s, checks: [{uses: test.check, expect: result.up}]", DOWN)
    counts = []
    for seconds in (19, 1, 20):
        await stage.passes(seconds)
        counts.append(stage.used("test.check"))
    assert counts == [1, 2, 3]
    assert only(load(file(rule("verify: {resolved: true}")))).rungs[0].verify.every == 15.0


async def test_verify_stable_for(stage: Stage, load: Load) -> None:
    """How long all must hold without a break: 0s by default."""
    said = "every: 10s, stable_for: 30s, checks: [{uses: test.check, expect: result.up}]"
    await verified(stage, said, UP, UP, DOWN, UP)
    await stage.passes(59)
    assert await stage.states() == [("verifying", None)]
    await stage.passes(1)
    assert await stage.states() == [("succeeded", None)]
    assert only(load(file(rule("verify: {resolved: true}")))).rungs[0].verify.stable_for == 0.0
    assert faults(load(file(rule("verify: {resolved: true, within: 1m, stable_for: 2m}")))) == [("verify", "bad-value")]


async def test_verify_resolved(stage: Stage, load: Load) -> None:
    """All the run's alerts must have resolved; false by default."""
    await stage.rules(file(rule("verify: {within: 10m, resolved: true}", "for: 1m")))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    await stage.resolves(app="web", n="1")
    assert await stage.states() == [("verifying", None)]
    await stage.resolves(app="web", n="2")
    assert await stage.states() == [("succeeded", None)]
    assert only(load(file(rule(f"verify: {CHECK}")))).rungs[0].verify.resolved is False


async def test_verify_checks(stage: Stage, load: Load) -> None:
    """Read steps, all of which must hold."""
    await verified(stage, "every: 10s, checks: [{uses: test.check, expect: result.up}, {uses: test.probe}]", UP)
    assert await stage.states() == [("succeeded", None)]
    assert (stage.used("test.check"), stage.used("test.probe")) == (1, 1)
    assert faults(load(file(rule("verify: {checks: [{uses: test.notify}]}")))) == [
        ("verify.checks[0].uses", "wrong-effect")
    ]


# -- approval --


async def asked(stage: Stage, approval: str) -> dict:
    await stage.rules(file(rule("mode: approve", f"approval: {{{approval}}}", "on_blocked: [{uses: test.notify}]")))
    await stage.fires(app="web")
    return await stage.run()


async def test_approval_timeout(stage: Stage) -> None:
    """Then the run is cancelled, `expired`, and `on_blocked` runs."""
    await asked(stage, "timeout: 2m")
    await stage.passes(119)
    assert (await stage.run())["state"] == "awaiting_approval"
    await stage.passes(1)
    assert (await stage.states(), stage.calls) == ([("cancelled", "expired")], [("test.notify", "")])


async def test_approval_approvers(stage: Stage, load: Load) -> None:
    """The people who may: by default whoever may operate the daemon, and an empty list is not read as that."""
    run = await asked(stage, "approvers: [ann]")
    with pytest.raises(Impossible, match="not among the approvers"):
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "bob", "go")
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]
    [problem] = load(file(rule("approval: {approvers: []}"))).problems
    assert (problem.key, problem.code) == ("approval.approvers", "bad-value")
    assert "name somebody, or leave the key out" in problem.message


async def test_approval_quorum(stage: Stage, load: Load) -> None:
    """So many different people; 1 by default, and no more than may."""
    run = await asked(stage, "quorum: 2")
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    with pytest.raises(Impossible, match="already"):
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    assert (await stage.run())["state"] == "awaiting_approval"
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "bob", "go")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]
    assert faults(load(file(rule("approval: {approvers: [ann, ann], quorum: 2}")))) == [("approval", "bad-value")]


# -- ladder --


def ladder(first: str = "", second: str = "", *more: str) -> str:
    rungs = f"ladder: [{{steps: {WRITE}, verify: {CHECK}{first}}}, {{steps: [{{uses: test.undo}}]{second}}}]"
    return file(rule(rungs, *more, steps=None))


async def test_rung_steps(stage: Stage, load: Load) -> None:
    """Required: what is done on it."""
    await stage.rules(ladder())
    stage.outcomes["test.check"] = [DOWN]
    await stage.fires(app="web")
    await stage.passes(60)
    assert [name for name, _ in stage.calls if name != "test.check"] == ["test.write", "test.undo"]
    assert faults(load(file(rule("ladder: [{mode: auto}]", steps=None)))) == [("ladder[0].steps", "missing-key")]


async def test_rung_verify(stage: Stage) -> None:
    """How its success is told, by default as the rule says; past the last rung the run has failed."""
    await stage.rules(ladder("", f", verify: {CHECK}", "on_failure: [{uses: test.notify}]"))
    stage.outcomes["test.check"] = [DOWN]
    await stage.fires(app="web")
    await stage.passes(120)
    assert (await stage.states(), stage.calls[-1][0]) == ([("failed", "ladder")], "test.notify")


async def test_rung_mode(stage: Stage, load: Load) -> None:
    """The highest mode of this rung: `auto` by default."""
    await stage.rules(ladder("", ", mode: approve"))
    stage.outcomes["test.check"] = [DOWN]
    await stage.fires(app="web")
    await stage.passes(60)
    assert [(run["state"], run["rung"]) for run in await stage.runs()] == [("awaiting_approval", 1)]
    assert only(load(ladder())).rungs[1].modes.in_force(START, {}) is Mode.AUTO


async def test_rung_approval(stage: Stage) -> None:
    """Who is asked, by default as the rule says."""
    text = ladder("", ", mode: approve, approval: {timeout: 1m}", "approval: {timeout: 1h, approvers: [ann]}")
    await stage.rules(text)
    stage.outcomes["test.check"] = [DOWN]
    await stage.fires(app="web")
    await stage.passes(119)
    assert (await stage.run())["state"] == "awaiting_approval"
    await stage.passes(1)
    assert await stage.states() == [("failed", "ladder")]
    rungs = stage.engine.desk.rules.rules[0].rungs
    assert [rung.approval.approvers for rung in rungs] == [("ann",), ()]


# -- revert --


async def test_revert_resolved(stage: Stage) -> None:
    """When the alerts have resolved."""
    await stage.rules(file(rule("revert: {resolved: true, steps: [{uses: test.undo}]}")))
    await stage.fires(app="web")
    await stage.passes(3600)
    assert stage.used("test.undo") == 0
    await stage.resolves(app="web")
    assert stage.used("test.undo") == 1
    assert [run["origin"] for run in await stage.runs()] == ["alert", "revert"]


async def test_revert_after(stage: Stage) -> None:
    """So long after the steps, however long it was verified after them."""
    verify = "verify: {within: 5m, every: 10s, stable_for: 2m, checks: [{uses: test.check}]}"
    await stage.rules(file(rule(verify, "revert: {after: 10m, steps: [{uses: test.undo}]}")))
    await stage.fires(app="web")
    await stage.passes(599)
    assert stage.used("test.undo") == 0
    await stage.passes(1)
    assert stage.used("test.undo") == 1


async def test_revert_steps(stage: Stage, load: Load) -> None:
    """Required: what takes the change back; they see what the run saw."""
    take_back = "revert: {after: 10m, steps: [{uses: test.undo, with: {says: '{{ steps.look.result.n }}'}}]}"
    await stage.rules(file(rule(take_back, steps="[{id: look, uses: test.read}, {uses: test.write}]")))
    stage.outcomes["test.read"] = [{"n": "two"}]
    await stage.fires(app="web")
    await stage.passes(600)
    assert says(stage, "test.undo") == ["two"]
    assert faults(load(file(rule("revert: {after: 1h}")))) == [("revert.steps", "missing-key")]


# -- schedule --


def test_schedule_cron(load: Load) -> None:
    """Required: five fields as cron reads them, or @daily and its like."""
    clock = {"match": None, "target": "disk"}
    written = only(load(file(rule("schedule: {cron: '30 4 1,15 * 5'}", **clock)))).schedule
    assert written is not None
    assert written.next_after(START) == Schedule.of("30 4 1,15 * 5").next_after(START)
    assert faults(load(file(rule("schedule: {timezone: UTC}", **clock)))) == [("schedule.cron", "missing-key")]
    assert faults(load(file(rule("schedule: {cron: '61 * * * *'}", **clock)))) == [("schedule", "bad-value")]


def test_schedule_timezone(load: Load) -> None:
    """UTC by default."""
    clock = {"match": None, "target": "disk"}
    times = []
    for said in ("{cron: '0 4 * * *'}", "{cron: '0 4 * * *', timezone: Europe/Berlin}"):
        schedule = only(load(file(rule(f"schedule: {said}", **clock)))).schedule
        assert schedule is not None
        times.append(schedule.next_after(START))
    assert times[0] is not None
    assert times[0] % 86_400 == 4 * 3600
    assert times[1] is not None
    assert times[1] % 86_400 == 3 * 3600
    wrong = "schedule: {cron: '0 4 * * *', timezone: Berlin}"
    assert faults(load(file(rule(wrong, **clock)))) == [("schedule", "bad-value")]


# -- modes by window --


def window(**interval: object) -> Window:
    return Window.of([IntervalForm.model_validate(interval)])


NIGHT = window(times=[{"start_time": "22:00", "end_time": "07:00"}], location="Europe/Berlin")
MIDNIGHT = 1_795_046_400.0  # Thursday, 19 November 2026, 00:00 UTC


def test_mode_during(load: Load) -> None:
    """A window: the first entry that holds decides, none is dry-run. Without it: always."""
    modes = only(load(file(rule("mode: [{during: night, mode: auto}]")), {"windows": ("night",)})).modes
    assert modes.in_force(MIDNIGHT, {"night": NIGHT}) is Mode.AUTO
    assert modes.in_force(MIDNIGHT + 12 * 3600, {"night": NIGHT}) is Mode.DRY_RUN


def test_mode_mode(load: Load) -> None:
    """Required: the mode that holds then."""
    modes = only(
        load(file(rule("mode: [{during: night, mode: auto}, {mode: approve}]")), {"windows": ("night",)})
    ).modes
    assert modes.in_force(MIDNIGHT + 12 * 3600, {"night": NIGHT}) is Mode.APPROVE
    assert faults(load(file(rule("mode: [{during: night}]")), {"windows": ("night",)})) == [
        ("mode[0].mode", "missing-key")
    ]


def test_interval_times() -> None:
    """On the wall clock; a range may cross midnight."""
    held = [hour for hour in range(24) if NIGHT.holds(MIDNIGHT + hour * 3600)]
    assert held == [0, 1, 2, 3, 4, 5, 21, 22, 23]


def test_interval_weekdays() -> None:
    """Days of the week, and ranges of them."""
    held = [day for day in range(7) if window(weekdays=["friday:saturday", "sunday"]).holds(MIDNIGHT + day * 86_400)]
    assert held == [1, 2, 3]


def test_interval_days_of_month() -> None:
    """From the beginning, or from the end."""
    held = [19 + day for day in range(12) if window(days_of_month=["20", "-1"]).holds(MIDNIGHT + day * 86_400)]
    assert held == [20, 30]


def test_interval_months() -> None:
    """By name or number."""
    assert window(months=["october:november"]).holds(MIDNIGHT)
    assert window(months=["11"]).holds(MIDNIGHT)
    assert not window(months=["december"]).holds(MIDNIGHT)


def test_interval_years() -> None:
    """One, or a range."""
    assert window(years=["2025:2026"]).holds(MIDNIGHT)
    assert not window(years=["2027"]).holds(MIDNIGHT)


def test_interval_location() -> None:
    """Whose wall clock: UTC by default."""
    early = {"times": [{"start_time": "00:00", "end_time": "01:00"}]}
    assert window(**early).holds(MIDNIGHT)
    assert not window(**early, location="Europe/Berlin").holds(MIDNIGHT)
