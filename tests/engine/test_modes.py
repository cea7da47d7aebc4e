"""Modes: off, dry-run, auto; the lowest is in force."""

from __future__ import annotations

import pytest
from stage import Stage

from remediator.model.run import Mode

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    for: FOR
    facts: [{id: who, uses: test.probe}]
    target: 'app/{{ facts.who.name }}'
    mode: MODE
    steps:
      - {id: look, uses: test.read, with: {says: '{{ facts.who.name }}'}}
      - {id: tell, uses: test.notify}
      - {id: act, uses: test.write, with: {says: '{{ steps.look.result.n }}'}}
      - {id: after, uses: test.read}
    verify: {within: 1m, checks: [{uses: test.check}]}
    on_success: [{uses: test.notify}]
    on_failure: [{uses: test.notify}]
"""


def rule(mode: str = "auto", for_: str = "0s") -> str:
    return RULE.replace("MODE", mode).replace("FOR", for_)


@pytest.mark.parametrize(("daemon", "own"), [(Mode.DRY_RUN, "auto"), (Mode.AUTO, "dry-run")])
async def test_p13_dry_run_reads_renders_and_records_and_does_nothing_outside(
    stage: Stage, daemon: Mode, own: str
) -> None:
    """Facts and leading reads are real; what writes or notifies, and all after it, is planned."""
    await stage.rules(rule(own), mode=daemon)
    stage.outcomes["test.probe"] = [{"name": "web"}]
    stage.outcomes["test.read"] = [{"n": 3}]
    await stage.fires()
    run = await stage.run()
    assert (run["state"], run["mode"], run["target"]) == ("planned", "dry-run", "app/web")
    assert [name for name, _ in stage.calls] == ["test.probe", "test.read"]
    states = [(step["id"], step["state"], step["parameters"]) for step in run["steps"] if step["phase"] == "steps"]
    assert states == [
        ("look", "succeeded", {"says": "web"}),
        ("tell", "planned", {}),
        ("act", "planned", {"says": "3"}),
        ("after", "planned", {}),
    ]
    assert [step["says"] for step in run["plan"]] == [
        "test.read web",
        "test.notify",
        "test.write, once look is known",
        "test.read",
    ]


async def test_a_planned_run_is_watched_until_its_alert_heals_by_itself(stage: Stage) -> None:
    """So a reviewer sees which actions would have been for nothing."""
    await stage.rules(rule("dry-run"))
    stage.outcomes["test.probe"] = [{"name": "web"}]
    stage.outcomes["test.read"] = [{"n": 3}]
    await stage.fires()
    await stage.passes(240)
    assert (await stage.run())["healed_after"] is None
    await stage.resolves()
    assert (await stage.run())["healed_after"] == pytest.approx(240, abs=0.1)
    assert [event.kind for event in await stage.store.view(lambda tx: tx.events(0, 100))][-1] == "run.healed"


@pytest.mark.parametrize(("daemon", "own"), [(Mode.OFF, "auto"), (Mode.AUTO, "off")])
async def test_off_decides_nothing(stage: Stage, daemon: Mode, own: str) -> None:
    """Not even a refusal."""
    await stage.rules(rule(own), mode=daemon)
    await stage.fires()
    assert await stage.runs() == []


async def test_the_mode_is_read_again_before_the_first_step(stage: Stage) -> None:
    """A run that was proposed in auto ends in a plan when the daemon has gone to dry-run meanwhile."""
    await stage.rules(rule(for_="2m"))
    stage.outcomes["test.probe"] = [{"name": "web"}]
    stage.outcomes["test.read"] = [{"n": 3}]
    await stage.fires()
    await stage.rules(rule(for_="2m"), mode=Mode.DRY_RUN)
    await stage.passes(121)
    assert (await stage.run())["state"] == "planned"
    assert stage.used("test.write") == 0
