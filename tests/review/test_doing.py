"""What a run did, in sentences: whose words they are, and what is said of how each step ended."""

from __future__ import annotations

from typing import Any

import pytest
from samples import NOW, run

from remediator.actions.catalog import load_catalog
from remediator.model.run import Mode, Phase, PlannedStep, Run, State, Step, StepState
from remediator.review.doing import what

CATALOG = load_catalog()
ARGV = {"argv": ["/bin/touch", "one"]}
SAID = CATALOG["exec.run"].plan(CATALOG["exec.run"].parameters.model_validate({"argv": ["/bin/touch", "one"]}))


def step(state: StepState = StepState.SUCCEEDED, **changes: Any) -> Step:
    """Make the record of a step that has begun."""
    values: dict[str, Any] = {
        "phase": Phase.STEPS, "position": 0, "item": 0, "attempt": 1, "uses": "exec.run", "id": None,
        "started_at": NOW, "parameters": ARGV,
    }  # fmt: skip
    return Step(state=state, **{**values, **changes})


def did(*steps: Step, **changes: Any) -> tuple[str, ...]:
    """Tell of a run that has ended."""
    return what(ended(**changes), steps, CATALOG.get)


def ended(**changes: Any) -> Run:
    return run(1, **{"state": State.FAILED, "started_at": NOW, "ended_at": NOW + 1, **changes})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (step(), ""),
        (step(StepState.FAILED), " (failed)"),
        (step(StepState.FAILED, unsent=True), " (not sent)"),
        (step(StepState.FAILED, unsent=True, kept=True), " (could not be sent, and was kept)"),
        (step(StepState.INTERRUPTED), " (how it ended is not known)"),
        (step(StepState.STARTED), " (how it ended is not known)"),
    ],
)
def test_how_a_step_ended_is_told(record: Step, words: str) -> None:
    """What is not known is not told as done."""
    assert did(record) == (SAID + words,)


def test_a_step_at_work_is_told_as_that() -> None:
    """Of a run that is open."""
    assert did(step(StepState.STARTED), state=State.RUNNING) == (f"{SAID} (at work)",)


def test_what_never_began_and_what_only_reads_is_not_told() -> None:
    """Skipped; failed before it could be rendered; a look; a check; a message about the end."""
    assert did(
        step(StepState.SKIPPED, started_at=None),
        step(StepState.FAILED, started_at=None, parameters=None, position=1),
        step(uses="exec.probe", position=2),
        step(phase=Phase.VERIFY),
        step(phase=Phase.ON_FAILURE),
        step(phase=Phase.REVERT),
    ) == ()  # fmt: skip


def test_the_order_is_that_in_which_they_began() -> None:
    """Rung by rung, and what was undone last."""
    records = [step(phase=Phase.UNDO, rung=1), step(rung=1, item=1), step(rung=1), step(rung=0)]
    assert did(*records, rung=1) == (
        f"rung 1, which did not help: {SAID}", f"rung 2: {SAID}", f"rung 2: {SAID}", f"undo: {SAID}",
    )  # fmt: skip


def test_the_words_are_those_of_the_plan_where_it_says_just_that() -> None:
    """Those that a person may have approved."""
    plan = (PlannedStep(None, "exec.run", "write", "as it was planned", ARGV),)
    assert did(step(), step(position=1, parameters={"argv": ["/bin/true"]}), plan=plan) == (
        "as it was planned",
        SAID.replace("/bin/touch one", "/bin/true"),
    )


@pytest.mark.parametrize(
    "record", [step(uses="gone.act"), step(uses="exec.run", parameters={"other": 1}), step(parameters=None)]
)
def test_what_this_version_has_no_words_for_is_told_by_its_name(record: Step) -> None:
    """An action that is gone, or takes other parameters now: it was done all the same."""
    assert did(record) == (record.uses,)


def test_what_only_read_is_known_by_the_plan_where_the_action_is_gone() -> None:
    """A look is no deed."""
    assert did(step(uses="gone.look"), plan=(PlannedStep(None, "gone.look", "read", "look", None),)) == ()


def test_of_a_dry_run_what_was_planned_is_told_with_what_it_depends_on() -> None:
    """Reads that were carried out, and what was skipped, are left out."""
    plan = (
        PlannedStep(None, "exec.run", "write", "run it", {}, condition="steps.a.ok"),
        PlannedStep(None, "exec.run", "write", "run it at once", ARGV),
        PlannedStep("each", "exec.run", "write", "exec.run for each of `x`", None, each="x"),
    )
    records = (
        step(uses="exec.probe"),
        step(StepState.SKIPPED, position=1, started_at=None, parameters=None),
        step(StepState.PLANNED, position=2, started_at=None),
        step(StepState.PLANNED, position=3, started_at=None, id="each", parameters=None),
    )
    dry = ended(state=State.PLANNED, mode=Mode.DRY_RUN, plan=plan)
    assert what(dry, records, CATALOG.get) == ("run it at once", "exec.run for each of `x`")
    pending = step(StepState.PLANNED, started_at=None, parameters=None)
    only = ended(state=State.PLANNED, mode=Mode.DRY_RUN, plan=plan[:1])
    assert what(only, [pending], CATALOG.get) == ("run it, if `steps.a.ok`",)
