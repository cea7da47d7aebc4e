"""A run with all that belongs to it: what the engine carries from one transition to the next."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from remediator.model.alert import Episode
from remediator.model.run import Event, EventKind, Phase, Reason, Run, State, Step, StepState, transition
from remediator.model.time import Timestamp


def stand_in(run: Run) -> Episode:
    """Give what stands for the alert of a run that no alert opened: the labels that a person or the daemon gave."""
    at = run.created_at
    return Episode(
        id=0, fingerprint="", labels=run.given or {}, annotations={}, generator_url="", starts_at=at, first_seen=at,
        last_seen=at, ended_at=None,
    )  # fmt: skip


class Story(msgspec.Struct, frozen=True):
    """One run, its steps, the alert that opened it, and the history that isn't saved yet."""

    run: Run
    alert: Episode
    steps: tuple[Step, ...] = ()
    events: tuple[Event, ...] = ()  # to be appended by the transaction that saves the story
    touched: frozenset[tuple[int, Phase, int, int]] = (
        frozenset()
    )  # keys of steps to save, or to forget where they are gone

    def with_run(self, **changes: Any) -> Story:
        """Change what is not the state."""
        return replace(self, run=replace(self.run, **changes))

    def tell(self, kind: EventKind, at: Timestamp, **data: Any) -> Story:
        """Add a line of history."""
        return replace(self, events=(*self.events, Event(at=at, kind=kind, run=self.run.id, data=data)))

    def move(self, to: State, now: Timestamp, reason: Reason | None = None, because: str | None = None) -> Story:
        """Take a transition, and say so in the history."""
        before = self.run
        story = replace(self, run=transition(before, to, now, reason, because))
        return story.tell(
            EventKind.MOVED, now, rule=before.rule, target=before.target, **{"from": before.state},
            to=to, reason=reason, because=because,
        )  # fmt: skip

    def rest(
        self, until: Timestamp | None, now: Timestamp, reason: Reason | None = None, because: str | None = None
    ) -> Story:
        """Have nothing to do until then (None: until somebody wakes it); a new reason is told once."""
        told = self
        if reason != self.run.reason:
            told = self.tell(
                EventKind.MOVED, now, rule=self.run.rule, target=self.run.target, to=self.run.state,
                reason=reason, because=because,
            )  # fmt: skip
        return told.with_run(due_at=until, reason=reason, because=because)

    def record(self, step: Step, now: Timestamp) -> Story:
        """Put what is known of a step in its place, and say in the history what began or ended."""
        before = next((known for known in self.steps if known.key == step.key), None)
        others = tuple(known for known in self.steps if known is not before)
        story = replace(self, steps=(*others, step), touched=self.touched | {step.key})
        if step.phase is Phase.VERIFY and step.attempt > 1 and (step.state is StepState.STARTED or step.refuted):
            return story  # a check is polled again and again: what it says is told when it is no longer the same "no"
        if step.state is StepState.STARTED:
            return story.tell(
                EventKind.STEP_STARTED, now, phase=step.phase, position=step.position, item=step.item,
                attempt=step.attempt, uses=step.uses, parameters=step.parameters,
            )  # fmt: skip
        return story.tell(
            EventKind.STEP_ENDED, now, phase=step.phase, position=step.position, item=step.item,
            attempt=step.attempt, uses=step.uses, state=step.state, error=step.error,
        )  # fmt: skip

    def forget(self, phase: Phase) -> Story:
        """Forget the records of a phase on the present rung: its steps will be taken again, but for time that has passed.

        The store forgets them too: what is read again may have to rest in between, and must not come upon an old reading.
        """
        gone = {step.key for step in self.of(phase) if not step.timer}
        kept = tuple(step for step in self.steps if step.key not in gone)
        return replace(self, steps=kept, touched=self.touched | gone)

    def saved(self) -> Story:
        """Give the story as it is after its transaction."""
        return replace(self, events=(), touched=frozenset())

    def of(self, phase: Phase) -> tuple[Step, ...]:
        """Give the steps of one phase on the present rung, in the order of the rule's list. Facts are of no rung."""
        rung = 0 if phase is Phase.FACTS else self.run.rung
        mine = (step for step in self.steps if step.phase is phase and step.rung == rung)
        return tuple(sorted(mine, key=lambda step: (step.position, step.item)))
