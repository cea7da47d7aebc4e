"""The report when it is asked for, and by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from stage import START, Stage, stage_in

from remediator.actions.protocol import Outcome, Result
from remediator.config import Config, LoadedConfig
from remediator.engine import controls
from remediator.errors import ConfigurationError
from remediator.model.run import Mode, Origin
from remediator.model.time import parse_rfc3339
from remediator.review.morning import read_report, report_when_due
from remediator.review.report import Verdict
from remediator.rules.configured import notice_rule, standing_of
from remediator.rules.cron import Schedule
from remediator.store.protocol import RunFilter

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 10m}
    steps: [{uses: test.write, with: {says: '{{ labels.app }}'}}]
"""
TO_STEPS = RULE.partition("    steps:")[0]
EIGHT = parse_rfc3339("2026-11-19T08:00:00Z")
DAY = 86_400.0


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A started stage without rules."""
    async with stage_in(tmp_path) as started:
        yield started


async def in_force(stage: Stage, schedule: str = "0 8 * * *", text: str = RULE) -> None:
    """Put a rule in force, and a report by the clock that goes through `test.notify`."""
    to = [{"uses": "test.notify", "with": {"says": "{{ notice.kind }}: {{ notice.text }}"}}]
    rule = notice_rule("report", to, LoadedConfig(Config(), None, stage.folder, {}), stage.catalog)
    await stage.rules(text, report=rule, report_at=Schedule.of(schedule))


async def at(stage: Stage, instant: float) -> bool:
    """Look then whether the report is due."""
    stage.clock.time = instant
    given = await report_when_due(stage.engine)
    await stage.settle()
    return given


async def reports(stage: Stage) -> list[str]:
    """Give what was told as a report."""
    found = await stage.store.view(lambda tx: tx.runs(RunFilter(rule="report", notices=True)))
    assert all(each.origin is Origin.NOTICE and each.given is not None for each in found)
    return [(each.given or {})["text"] for each in reversed(found)]


# -- when it is asked for --


async def test_a_report_is_made_of_what_has_ended_since_and_of_all_that_is_open(stage: Stage) -> None:
    """A run that is open is told of, however old."""
    patient = RULE.replace("mend", "waits").replace("Down", "Slow").replace("target:", "for: 90d\n    target:")
    await stage.rules(RULE + patient.replace("\nrules:\n", ""), stale_after=90 * DAY)
    await stage.fires(app="early")
    await stage.fires("Slow", app="web")
    stage.clock.time += 2 * DAY
    await stage.fires(app="late")
    now = stage.clock.now()
    report = await read_report(stage.engine, now - DAY, now)
    assert [each.target for each in report.acted.entries] == ["app/late"]
    assert [each.rule for each in report.waiting.entries] == ["waits"]
    assert (report.numbers.runs, report.whole) == (2, True)


async def test_dry_runs_are_told_with_the_time_in_which_they_healed(stage: Stage) -> None:
    """The reviewer sees which action would have been for nothing."""
    await stage.rules(RULE, mode=Mode.DRY_RUN)
    await stage.fires(app="web")
    await stage.passes(300)
    await stage.resolves(app="web")
    report = await read_report(stage.engine, START, stage.clock.now())
    (deed,) = report.would_have_acted.entries
    assert (deed.target, deed.what, round(deed.longest or 0)) == ("app/web", ("test.write web",), 300)
    assert (report.numbers.would_have_acted, report.numbers.healed) == (1, 1)


async def test_what_was_over_before_it_began_is_told_with_the_time_in_which_it_healed(stage: Stage) -> None:
    """Its alert resolved while it waited: the wait has spared an action."""
    await stage.rules(RULE.replace("target:", "for: 10m\n    target:"))
    await stage.fires(app="web")
    await stage.passes(300)
    await stage.resolves(app="web")
    report = await read_report(stage.engine, START, stage.clock.now())
    (group,) = report.not_begun.entries
    assert (group.reason, group.healed, round(group.shortest or 0), round(group.longest or 0)) == (
        "resolved",
        1,
        300,
        300,
    )
    assert round((await stage.run())["healed_after"]) == 300


async def test_what_was_refused_is_told_with_the_time_in_which_it_healed_where_all_of_it_has(stage: Stage) -> None:
    """One alert that fires on is not healed, nor is what nobody hears of any more."""
    await stage.rules(RULE.replace("guard: {cooldown: 10m}", "guard: {only_if: 'false'}"), stale_after=DAY)
    for app in ("web", "ill", "gone"):
        await stage.fires(app=app)
    await stage.passes(240)
    await stage.resolves(app="web")
    assert await healed(stage) == (3, 1, 240)
    await stage.passes(DAY)
    assert await healed(stage) == (3, 1, 240)


async def healed(stage: Stage) -> tuple[int, int, int]:
    """Give how many runs the report says were refused, how many of them healed, and after how long."""
    (group,) = (await read_report(stage.engine, START, stage.clock.now())).refused.entries
    assert group.shortest == group.longest
    return group.count, group.healed, round(group.longest or 0)


# -- what was done --


async def told(stage: Stage, rule: str) -> tuple[str, ...]:
    """Let an alert fire under a rule, and give what the report says of the only run."""
    await stage.rules(rule)
    await stage.fires(app="web")
    await stage.passes(200)
    report = await read_report(stage.engine, START, stage.clock.now())
    (deed,) = [*report.acted.entries, *report.would_have_acted.entries]
    return deed.what


def doing(steps: str, more: str = "") -> str:
    """Make the rule with other steps."""
    return TO_STEPS + f"    steps: {steps}\n{more}"


async def test_of_a_ladder_the_remedy_that_helped_is_told_and_those_before_that_did_not(stage: Stage) -> None:
    """Nobody writes rules after a report that praises the wrong one."""
    verify = "verify: {within: 1m, every: 10s, checks: [{uses: test.check, expect: result.up}]}"
    rungs = "".join(
        f"      - {{steps: [{{uses: test.write, with: {{says: {each}}}}}], {verify}}}\n"
        for each in ("restart", "rollback")
    )
    stage.outcomes["test.check"] = [*[{"up": False}] * 7, {"up": True}]
    assert await told(stage, TO_STEPS + "    ladder:\n" + rungs) == (
        "rung 1, which did not help: test.write restart", "rung 2: test.write rollback",
    )  # fmt: skip


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.DRY_RUN])
async def test_a_step_that_was_skipped_was_not_done(stage: Stage, mode: Mode) -> None:
    """Nor would it have been: its `if` was false when its turn came, which no plan could tell."""
    await stage.rules(RULE, mode=mode)
    stage.outcomes["test.read"] = [{"bad": False}]
    steps = """
      - {id: look, uses: test.read}
      - {uses: test.write, with: {says: one}, if: steps.look.result.bad}
      - {uses: test.write, with: {says: two}}
"""
    assert await told(stage, doing(steps)) == ("test.write two",)


async def test_a_step_that_was_never_reached_was_not_tried_and_what_was_undone_is_told(stage: Stage) -> None:
    """With how each ended."""
    stage.outcomes["test.write"] = [Outcome(Result.REFUSED, error="no")]
    steps = "[{uses: test.notify, with: {says: hear}}, {uses: test.write, with: {says: one}}, {uses: test.write}]"
    undo = "    undo: [{uses: test.undo, with: {says: back}}]\n    on_failure: [{uses: test.notify}]\n"
    assert await told(stage, doing(steps, undo)) == (
        "test.notify hear", "test.write one (failed)", "undo: test.undo back",
    )  # fmt: skip


async def test_a_run_that_was_cancelled_in_a_step_did_not_do_what_was_to_come(stage: Stage) -> None:
    """And of the step at work it is not said that it was done."""
    stage.blocked["test.write"] = asyncio.Event()
    await stage.rules(doing("[{uses: test.write, with: {says: one}}, {uses: test.write, with: {says: two}}]"))
    await stage.fires(app="web")
    await controls.cancel(stage.engine, (await stage.run())["id"], "ann", "enough")
    await stage.settle()
    report = await read_report(stage.engine, START, stage.clock.now())
    assert [(each.verdict, each.what) for each in report.acted.entries] == [
        (Verdict.STOPPED, ("test.write one (failed)",)),
    ]


async def test_of_a_revert_only_what_took_the_change_back_is_told(stage: Stage) -> None:
    """Its records hold the steps of the run before, too: they are that run's."""
    await stage.rules(RULE + "    revert: {after: 1m, steps: [{uses: test.undo, with: {says: back}}]}\n")
    await stage.fires(app="web")
    await stage.passes(61)
    report = await read_report(stage.engine, START, stage.clock.now())
    before = (await stage.runs())[0]["id"]
    assert [each.what for each in report.acted.entries] == [
        (f"revert of run {before}: test.undo back",), ("test.write web",),
    ]  # fmt: skip


@pytest.mark.parametrize("after", [RULE, RULE.replace("mend", "other"), RULE.replace("Mend what", "What")])
async def test_a_run_that_began_under_a_confidential_rule_stays_confidential(stage: Stage, after: str) -> None:
    """Whatever became of the rule."""
    await stage.rules(RULE.replace("    target:", "    confidential: true\n    target:"))
    await stage.fires(app="web")
    await stage.rules(after)
    report = await read_report(stage.engine, START, stage.clock.now())
    assert report.acted.entries == ()
    assert [(each.rule, each.state) for each in report.confidential.entries] == [("mend", "succeeded")]


async def test_a_rule_that_has_become_confidential_is_so_for_its_older_runs(stage: Stage) -> None:
    """Its author has said so."""
    await stage.rules(RULE)
    await stage.fires(app="web")
    await stage.rules(RULE.replace("    target:", "    confidential: true\n    target:"))
    report = await read_report(stage.engine, START, stage.clock.now())
    assert (report.acted.entries, len(report.confidential.entries)) == ((), 1)


# -- by the clock --


async def test_a_report_is_given_once_at_its_time_as_a_notice(stage: Stage) -> None:
    """By steps of its own; it tells of the time since the one before."""
    await in_force(stage)
    assert not await at(stage, START)
    await stage.fires(app="web")
    assert not await at(stage, EIGHT - 1)
    assert await at(stage, EIGHT)
    assert not await at(stage, EIGHT + 30)
    await stage.fires(app="other")
    assert await at(stage, EIGHT + DAY)
    first, second = await reports(stage)
    assert first.startswith("# Report from 2026-11-17T11:06Z to 2026-11-19T08:00Z\n")
    assert second.startswith("# Report from 2026-11-19T08:00Z to 2026-11-20T08:00Z\n")
    assert ("mend on app/web" in first, "mend on app/web" in second, "mend on app/other" in second) == (
        True,
        False,
        True,
    )
    assert stage.used("test.notify") == 2
    assert stage.calls[-1][1].startswith("report: # Report from")


async def test_a_report_that_was_missed_is_given_at_the_next_start_over_all_the_time(stage: Stage) -> None:
    """One for all that were missed."""
    await in_force(stage)
    await at(stage, START)
    assert await at(stage, EIGHT)
    stage.clock.time = EIGHT + 3 * DAY + 3600
    await stage.crash()
    assert await at(stage, stage.clock.time)
    assert not await at(stage, stage.clock.time)
    assert (await reports(stage))[-1].startswith("# Report from 2026-11-19T08:00Z to 2026-11-22T09:00Z\n")
    assert not await at(stage, EIGHT + 4 * DAY - 1)
    assert await at(stage, EIGHT + 4 * DAY)


async def test_a_report_that_is_due_keeps_nobody_from_work(stage: Stage) -> None:
    """The engine neither spins on its timer nor takes it for a schedule."""
    await in_force(stage, text=RULE.replace("target:", "for: 1m\n    target:"))
    await at(stage, START)
    stage.clock.time = EIGHT + 60
    await stage.fires(app="web")
    assert await stage.store.view(lambda tx: tx.next_due()) == EIGHT + 120
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None)]
    assert await at(stage, EIGHT + 120)


async def test_another_schedule_is_reckoned_anew_and_forgets_nothing(stage: Stage) -> None:
    """What was told last is where the next report begins."""
    await in_force(stage)
    await at(stage, START)
    assert await at(stage, EIGHT)
    await in_force(stage, "0 18 * * *")
    assert not await at(stage, EIGHT + 60)
    assert not await at(stage, EIGHT + DAY - 14 * 3600 - 1)
    assert await at(stage, EIGHT + 10 * 3600)
    assert (await reports(stage))[-1].startswith("# Report from 2026-11-19T08:00Z to 2026-11-19T18:00Z\n")


async def test_without_a_schedule_nothing_is_kept(stage: Stage) -> None:
    """A report that was taken out of the configuration."""
    await in_force(stage)
    await at(stage, START)
    await stage.rules(RULE, report=None, report_at=None)
    assert not await at(stage, EIGHT + DAY)
    assert await stage.store.view(lambda tx: tx.timers()) == []


# -- in the configuration --


def configured(**report: Any) -> LoadedConfig:
    """Make a configuration with a report."""
    from remediator.actions.catalog import load_catalog

    config = Config.model_validate({"report": {"to": [{"uses": "log", "with": {"message": "x"}}], **report}})
    loaded = LoadedConfig(config, None, Path(), {})
    standing_of(loaded, load_catalog())
    return loaded


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"schedule": "0 8 * *"}, "cron has five fields"),
        ({"schedule": "0 8 30 2 *"}, "never comes"),
        ({"schedule": "@daily", "timezone": "Mars/Phobos"}, "Mars/Phobos"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_the_configuration(report: dict[str, str], words: str) -> None:
    """And not found out in the morning."""
    configured(schedule="@daily", timezone="Europe/Berlin")
    with pytest.raises(ConfigurationError, match=r"report\.schedule: ") as refused:
        configured(**report)
    assert words in str(refused.value)
