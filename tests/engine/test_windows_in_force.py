"""Modes by window and by what people lay: the lowest is in force, read again before the first step, and may only fall."""

from __future__ import annotations

import pytest
from stage import START, Stage

from remediator.engine import controls
from remediator.intervals import IntervalForm
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Mode
from remediator.rules.windows import Modes, Window

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    for: FOR
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    mode:
      - {during: freeze, mode: dry-run}
      - {during: night, mode: auto}
      - {mode: approve}
    steps: [{uses: test.write}]
"""


def daily(begin: float, end: float) -> Window:
    """Make a window from so many seconds after the start to so many, by the clock."""
    from datetime import UTC, datetime

    def at(seconds: float) -> str:
        return datetime.fromtimestamp(START + seconds, UTC).strftime("%H:%M")

    form = IntervalForm.model_validate({"times": [{"start_time": at(begin), "end_time": at(end)}]})
    return Window.of([form])


async def put(stage: Stage, *, night: tuple[float, float], freeze: tuple[float, float], for_: str = "0s") -> None:
    await stage.rules(
        RULE.replace("FOR", for_), windows={"night": daily(*night), "freeze": daily(*freeze)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("night", "freeze", "state"),
    [
        ((-3600, 3600), (7200, 10_800), "succeeded"),
        ((7200, 10_800), (14_400, 18_000), "awaiting_approval"),
        ((-3600, 3600), (-3600, 3600), "planned"),
    ],
)
async def test_hands_off_at_night_ask_by_day_dry_run_in_a_freeze(
    stage: Stage, night: tuple[float, float], freeze: tuple[float, float], state: str
) -> None:
    """The first entry that holds decides."""
    await put(stage, night=night, freeze=freeze)
    await stage.fires(app="web")
    assert (await stage.run())["state"] == state


async def test_the_mode_is_read_again_before_the_first_step(stage: Stage) -> None:
    """The night ended while the alert had to fire for a while."""
    await put(stage, night=(-3600, 300), freeze=(7200, 10_800), for_="10m")
    await stage.fires(app="web")
    assert (await stage.run())["mode"] == "auto"
    await stage.passes(600)
    assert (await stage.run())["state"] == "awaiting_approval"


async def test_the_mode_may_only_fall(stage: Stage) -> None:
    """Proposed by day, it asks, though the night has come meanwhile."""
    await put(stage, night=(300, 36_000), freeze=(40_000, 43_600), for_="10m")
    await stage.fires(app="web")
    await stage.passes(600)
    assert (await stage.run())["state"] == "awaiting_approval"


async def test_the_daemons_mode_may_be_a_list_too(stage: Stage) -> None:
    """None that holds is dry-run."""
    from remediator.forms.guards import ModeEntryForm

    modes = Modes.of([ModeEntryForm(during="night", mode="auto")])
    text = RULE.replace("FOR", "0s").split("    mode:")[0] + "    steps: [{uses: test.write}]\n"
    await stage.rules(text, modes=modes, windows={"night": daily(-3600, 600)})
    await stage.fires(app="a")
    await stage.passes(3600)
    await stage.fires(app="b")
    assert await stage.states() == [("succeeded", None), ("planned", None)]


@pytest.mark.parametrize(
    ("mode", "rule", "target", "state"),
    [
        (Mode.DRY_RUN, None, None, "planned"),
        (Mode.APPROVE, "mend", None, "awaiting_approval"),
        (Mode.DRY_RUN, None, "app/web", "planned"),
        (Mode.DRY_RUN, "other", None, "succeeded"),
        (Mode.DRY_RUN, None, "app/else", "succeeded"),
        (Mode.AUTO, None, None, "succeeded"),
    ],
)
async def test_a_mode_that_a_person_lays_lowers_and_never_raises(
    stage: Stage, mode: Mode, rule: str | None, target: str | None, state: str
) -> None:
    """On everything, on a rule, or on a target."""
    await put(stage, night=(-3600, 3600), freeze=(7200, 10_800))
    now = stage.clock.now()
    control = Control(
        new_id(now), ControlKind.MODE, laid_at=now, author="ann", reason="x", mode=mode, rule=rule, target=target
    )
    await controls.lay_mode(stage.engine, control)
    await stage.fires(app="web")
    assert (await stage.run())["state"] == state


async def test_what_is_asked_becomes_a_plan_when_the_mode_falls_to_dry_run(stage: Stage) -> None:
    """At once, and nobody can approve it any more."""
    await put(stage, night=(7200, 10_800), freeze=(14_400, 18_000))
    await stage.fires(app="web")
    now = stage.clock.now()
    control = Control(new_id(now), ControlKind.MODE, laid_at=now, author="ann", reason="x", mode=Mode.DRY_RUN)
    await controls.lay_mode(stage.engine, control)
    await stage.settle()
    assert await stage.states() == [("planned", None)]
