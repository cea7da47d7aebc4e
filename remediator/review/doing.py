"""Doing: what a run did, from the records of its steps; of a dry run, what it would have done. Pure.

A plan is no deed: it is made before the first step, a step of it may be skipped or never be reached, and neither `undo` nor
the rungs that a run climbs to stand in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from remediator.actions.protocol import Action, Effect
from remediator.model.run import Origin, Phase, PlannedStep, Run, Step, StepState

ActionOf: TypeAlias = Callable[[str], Action[Any] | None]  # by its name in the catalog

PHASES = (Phase.STEPS, Phase.UNDO, Phase.REVERT)  # where a run acts
_ORDER = {phase: place for place, phase in enumerate(PHASES)}


def what(run: Run, steps: Sequence[Step], action_of: ActionOf) -> tuple[str, ...]:
    """Tell of each step that wrote or notified, or would have, in the actions' own words, and how it ended."""
    # A revert carries the records of the run whose change it takes back: what its templates see, and no deed of its own.
    phases = {Phase.REVERT} if run.origin is Origin.REVERT else {Phase.STEPS, Phase.UNDO}
    mine = [step for step in steps if step.phase in phases and _counts(run, step)]
    mine.sort(key=lambda step: (step.rung, _ORDER[step.phase], step.position, step.item))
    laddered = any(step.rung for step in mine)
    return tuple(
        f"{_where(run, step, laddered=laddered)}{_says(run, step, action_of(step.uses))}{_end(run, step)}"
        for step in mine
        if _effect(run, step, action_of(step.uses)) != Effect.READ
    )


def _counts(run: Run, step: Step) -> bool:
    if run.dry:
        return step.state is StepState.PLANNED
    return step.started_at is not None  # else it was skipped, or could not even be rendered


def _effect(run: Run, step: Step, action: Action[Any] | None) -> str | None:
    """Give what a step does to the world; None where this version knows no such action, nor the plan."""
    if action is not None:
        return action.effect
    return next((planned.effect for planned in run.plan or () if planned.uses == step.uses), None)


def _where(run: Run, step: Step, *, laddered: bool) -> str:
    if step.phase is Phase.REVERT:
        return f"revert of run {run.reverts}: "
    if step.phase is Phase.UNDO:
        return "undo: "
    if not laddered:
        return ""
    return f"rung {step.rung + 1}{', which did not help' if step.rung < run.rung else ''}: "


def _says(run: Run, step: Step, action: Action[Any] | None) -> str:
    plan = run.plan or ()
    if step.parameters is None:  # of a dry run: what it depends on can't be known
        pending = {_pending(planned) for planned in plan if (planned.uses, planned.id) == (step.uses, step.id)}
        return pending.pop() if len(pending) == 1 else step.uses
    for planned in plan:
        if (planned.uses, planned.parameters) == (step.uses, step.parameters):
            return planned.says
    if action is None:
        return step.uses
    try:
        return action.plan(action.parameters.model_validate_json(msgspec.json.encode(step.parameters)))
    except ValueError:  # what stands in the record is not what this version of the action takes
        return step.uses


def _pending(planned: PlannedStep) -> str:
    return planned.says if planned.condition is None else f"{planned.says}, if `{planned.condition}`"


def _end(run: Run, step: Step) -> str:
    if step.kept:
        return " (could not be sent, and was kept)"
    if step.state is StepState.FAILED:
        return " (not sent)" if step.unsent else " (failed)"
    if step.state is StepState.STARTED and run.open:
        return " (at work)"
    return " (how it ended is not known)" if step.state in {StepState.STARTED, StepState.INTERRUPTED} else ""
