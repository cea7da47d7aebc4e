"""Modes: off, dry-run, auto; the lowest is in force."""

from __future__ import annotations

import pytest
from stage import Stage

from remediator.engine import controls
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
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


TELL = """
rules:
  - name: tell
    summary: Tell people.
    match: '{alertname="Down"}'
    target: web
    mode: MODE
    guard: {cooldown: 0s}
    steps: [{uses: test.read}, {uses: test.notify}]
"""


async def test_an_approve_that_is_meant_for_everything_asks_for_what_writes(stage: Stage) -> None:
    """People are told at once: a page that waited for leave would page nobody."""
    telling = TELL.replace("MODE", "auto")
    writing = telling.replace("name: tell", "name: mend").replace("{uses: test.notify}", "{uses: test.write}")
    await stage.rules(telling + writing.replace("\nrules:", ""), mode=Mode.APPROVE)
    await stage.fires()
    told = {run["rule"]: (run["mode"], run["state"]) for run in await stage.runs()}
    assert told == {"tell": ("auto", "succeeded"), "mend": ("approve", "awaiting_approval")}


async def test_an_approve_of_the_rule_itself_asks_for_what_only_tells_people_too(stage: Stage) -> None:
    """Who writes it there means it."""
    await stage.rules(TELL.replace("MODE", "approve"))
    await stage.fires()
    assert (await stage.states(), stage.used("test.notify")) == ([("awaiting_approval", "approval")], 0)


@pytest.mark.parametrize(
    ("laid_on", "state"),
    [({}, "succeeded"), ({"rule": "tell"}, "awaiting_approval"), ({"target": "web"}, "awaiting_approval")],
)
async def test_an_approve_that_a_person_lays_asks_by_what_it_is_laid_on(
    stage: Stage, laid_on: dict[str, str], state: str
) -> None:
    """On everything it is as the daemon's own; on a rule or a target it is meant for whatever that does."""
    await stage.rules(TELL.replace("MODE", "auto"))
    now = stage.clock.now()
    control = Control(
        new_id(now), ControlKind.MODE, laid_at=now, author="ann", reason="x", mode=Mode.APPROVE, **laid_on
    )
    await controls.lay_mode(stage.engine, control)
    await stage.fires()
    assert [each for each, _ in await stage.states()] == [state]


async def test_a_dry_run_of_everything_tells_nobody(stage: Stage) -> None:
    """What only tells people is planned there like all else."""
    await stage.rules(TELL.replace("MODE", "auto"), mode=Mode.DRY_RUN)
    await stage.fires()
    assert (await stage.states(), stage.used("test.notify")) == ([("planned", None)], 0)
