"""Approving by itself: pure functions of a story, its rule and what was laid."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from samples import NOW, run, story

from remediator.actions.protocol import Gate
from remediator.engine.approving import approvals, ask, awaiting
from remediator.engine.moves import Effect, Rest, Surroundings
from remediator.model.control import Control, ControlKind
from remediator.model.run import EventKind, Mode, Origin, Phase, Reason, State, Step, StepState
from remediator.model.story import Story
from remediator.rules.rule import Approval, Rule, Rung, StepRule
from remediator.rules.standing import Standing
from remediator.rules.templates import Text
from remediator.rules.windows import Modes

ASKED, TIMEOUT = NOW, 900.0
LATER = NOW + 120
UNTIL = "2026-11-18T11:21:40.000Z"
FOLLOW_UP = StepRule("test.notify", None, None)  # type: ignore[arg-type]


def rule(*, approvers: tuple[str, ...] = (), quorum: int = 1, on_blocked: bool = False) -> Rule:
    """Make a rule of two rungs, the second of which says whom to ask."""
    approval = Approval(TIMEOUT, approvers, quorum)
    return Rule(
        name="restart", hash="h", definition={}, summary="", match=(), target=Text("app1", Gate.DISPLAY),
        rungs=(Rung((), approval=Approval(1.0)), Rung((), approval=approval)),
        on_blocked=(FOLLOW_UP,) if on_blocked else (),
    )  # fmt: skip


def asking(**changes: Any) -> Story:
    """Make the story of a run that has asked, and has read what it asks about."""
    values = {
        "state": State.AWAITING_APPROVAL, "mode": Mode.APPROVE, "reason": Reason.APPROVAL, "because": "may it?",
        "asked_at": ASKED, "ask_until": ASKED + TIMEOUT, "due_at": ASKED + TIMEOUT, "plan_hash": "p1", "rung": 1,
    }  # fmt: skip
    read = [
        Step(phase, 0, 0, 1, "test.read", None, StepState.SUCCEEDED, rung=1) for phase in (Phase.FACTS, Phase.STEPS)
    ]
    return replace(story(1, **{**values, **changes}), steps=(replace(read[0], rung=0), read[1]))


def laid(kind: ControlKind, author: str = "ann", *, at: float = ASKED + 60, plan: str | None = "p1") -> Control:
    """Lay something on the run."""
    return Control(id="c1", kind=kind, laid_at=at, author=author, reason="because", run=run(1).id, plan_hash=plan)


def after(
    asked: Story, *controls: Control, now: float = LATER, of: Rule | None = None, mode: str = "approve", **world: Any
) -> tuple[Story, Effect | None]:
    """Look at the run again."""
    return awaiting(asked, of or rule(), Surroundings(now, Standing(modes=Modes.of(mode)), controls, **world))


def ended(result: tuple[Story, Effect | None]) -> tuple[State, Reason | None, str | None]:
    """Give where the run stands, and why."""
    (at, effect) = result
    assert effect is None
    return at.run.state, at.run.reason, at.run.because


# -- asking --


def test_asking_says_who_may_answer_what_till_when() -> None:
    """By the rung that is next, in the run and in its history."""
    before = story(1, rung=1, plan_hash="p1", mode=Mode.APPROVE)
    asked = ask(before, rule(approvers=("ann", "bob"), quorum=2), NOW)
    assert (asked.run.state, asked.run.reason) == (State.AWAITING_APPROVAL, Reason.APPROVAL)
    assert asked.run.because == f"2 of ann, bob may approve till {UNTIL}: `remediator approve {run(1).id}`"
    assert (asked.run.asked_at, asked.run.ask_until, asked.run.due_at) == (NOW, NOW + TIMEOUT, NOW + TIMEOUT)
    event, moved = asked.events
    assert (event.kind, event.at, moved.kind) == (EventKind.ASKED, NOW, EventKind.MOVED)
    assert event.data == {
        "rule": "restart", "target": "app1", "plan_hash": "p1", "rung": 1, "approvers": ("ann", "bob"), "quorum": 2,
        "until": NOW + TIMEOUT,
    }  # fmt: skip


def test_asking_about_a_plan_that_has_changed_says_so_and_forgets_the_approval() -> None:
    """Whoever approved has approved something else."""
    asked = ask(story(1, rung=1, plan_hash="p2", approved_hash="p1"), rule(), NOW)
    assert asked.run.approved_hash is None
    assert asked.run.because == (
        "the plan has changed since it was approved; whoever may operate the daemon may approve "
        f"till {UNTIL}: `remediator approve {run(1).id}`"
    )


# -- the answer --


def test_enough_approvals_let_it_go_on_and_everything_is_read_again() -> None:
    """From where it asked: before admission it waits for that, on a ladder it goes on."""
    first, effect = after(asking(), laid(ControlKind.APPROVE))
    assert effect is None
    assert (first.run.state, first.run.reason, first.run.approved_hash) == (State.WAITING, None, "p1")
    assert (first.run.asked_at, first.run.ask_until, first.run.due_at) == (None, None, None)
    assert first.steps == ()
    assert first.run.paused_for == 0.0
    climbing, effect = after(asking(admitted_at=NOW - 600, paused_for=7.0), laid(ControlKind.APPROVE))
    assert effect is None
    assert (climbing.run.state, climbing.run.approved_hash) == (State.RUNNING, "p1")
    assert climbing.run.paused_for == 7.0 + LATER - ASKED


def test_each_person_counts_once_for_the_plan_that_is_asked_about_since_it_is() -> None:
    """What was said before, or of another plan, is no answer."""
    controls = [
        laid(ControlKind.APPROVE, "bob", at=ASKED),
        laid(ControlKind.APPROVE, "ann"),
        laid(ControlKind.APPROVE, "bob"),
        laid(ControlKind.APPROVE, "early", at=ASKED - 1),
        laid(ControlKind.APPROVE, "other", plan="p0"),
        laid(ControlKind.REJECT, "no"),
    ]
    assert approvals(asking().run, controls) == ("bob", "ann")
    assert approvals(asking(asked_at=None).run, controls) == ()


def test_it_waits_for_its_quorum_and_says_who_has_approved_so_far() -> None:
    """Till the answer expires."""
    both = rule(approvers=("ann", "bob"), quorum=2)
    waits, effect = after(asking(), laid(ControlKind.APPROVE), of=both)
    assert isinstance(effect, Rest)
    assert (waits.run.state, waits.run.reason, waits.run.due_at) == (
        State.AWAITING_APPROVAL, Reason.APPROVAL, ASKED + TIMEOUT,
    )  # fmt: skip
    assert waits.run.because == (
        f"2 of ann, bob may approve till {UNTIL}: `remediator approve {run(1).id}`; ann approved"
    )
    gone, _ = after(asking(), laid(ControlKind.APPROVE), laid(ControlKind.APPROVE, "bob"), of=both)
    assert gone.run.state is State.WAITING


def test_while_nobody_has_answered_it_goes_on_saying_why_it_asks() -> None:
    """After a pause it asks anew, with the time that the pause took added."""
    waits, effect = after(asking())
    assert isinstance(effect, Rest)
    assert (waits.run.because, waits.run.due_at, waits.events) == ("may it?", ASKED + TIMEOUT, ())
    endless, _ = after(asking(ask_until=None), now=NOW + 9e9)
    assert (endless.run.state, endless.run.due_at) == (State.AWAITING_APPROVAL, None)
    one_of_two, _ = after(asking(ask_until=None), laid(ControlKind.APPROVE), of=rule(quorum=2))
    assert one_of_two.run.because == (
        f"2 of whoever may operate the daemon may approve: `remediator approve {run(1).id}`; ann approved"
    )
    paused = asking(reason=Reason.PAUSED, because="paused by ann", paused_since=NOW + 60)
    resumed, _ = after(paused)
    assert resumed.run.reason is Reason.APPROVAL
    assert resumed.run.because == (
        f"whoever may operate the daemon may approve till 2026-11-18T11:22:40.000Z: `remediator approve {run(1).id}`"
    )
    assert resumed.run.due_at == ASKED + TIMEOUT + 60


def test_p12_a_pause_lengthens_the_time_to_answer_by_itself_and_not_by_when_somebody_looked() -> None:
    """The pause ended by its span at 90 s; the run is looked at again at 120 s."""
    paused = asking(reason=Reason.PAUSED, because="paused by ann", paused_since=NOW + 60, pause_ends=NOW + 90)
    resumed, _ = after(paused)
    assert resumed.run.ask_until == ASKED + TIMEOUT + 30
    assert (resumed.run.paused_since, resumed.run.pause_ends) == (None, None)
    lifted_early, _ = after(replace(paused, run=replace(paused.run, pause_ends=NOW + 500)))
    assert lifted_early.run.ask_until == ASKED + TIMEOUT + 60


def test_one_rejection_ends_it_whatever_others_approved() -> None:
    """One that was laid before it asked is about something else."""
    rejected = after(asking(), laid(ControlKind.APPROVE), laid(ControlKind.REJECT, at=ASKED))
    assert ended(rejected) == (State.CANCELLED, Reason.REJECTED, "rejected by ann: because")
    early, effect = after(asking(), laid(ControlKind.REJECT, at=ASKED - 1))
    assert isinstance(effect, Rest)
    assert early.run.state is State.AWAITING_APPROVAL


def test_an_approval_that_nobody_gave_expires_at_its_instant() -> None:
    """And its rule's `on_blocked` follows; after a rejection nothing does."""
    asked = asking()
    assert after(asked, now=ASKED + TIMEOUT - 1)[1] is not None
    assert ended(after(asked, now=ASKED + TIMEOUT)) == (State.CANCELLED, Reason.EXPIRED, "not approved within 15m")
    followed, effect = after(asked, now=ASKED + TIMEOUT, of=rule(on_blocked=True))
    assert effect is None
    assert (followed.run.state, followed.run.ending) == (State.AWAITING_APPROVAL, State.CANCELLED)
    assert (followed.run.phase, followed.run.reason) == (Phase.ON_BLOCKED, Reason.EXPIRED)
    assert followed.run.because == "not approved within 15m"
    rejected = after(asked, laid(ControlKind.REJECT), of=rule(on_blocked=True))
    assert ended(rejected)[:2] == (State.CANCELLED, Reason.REJECTED)


@pytest.mark.parametrize("laid_on_it", [(laid(ControlKind.REJECT),), ()])
def test_a_ladder_that_may_not_go_on_has_failed(laid_on_it: tuple[Control, ...]) -> None:
    """It has acted, and did not help: that is what a person has to know."""
    failed, _ = after(asking(admitted_at=NOW - 600), *laid_on_it, now=ASKED + TIMEOUT)
    assert (failed.run.ending, failed.run.reason) == (State.FAILED, Reason.LADDER)
    assert failed.run.because == f"rung 2: {'rejected by ann: because' if laid_on_it else 'not approved within 15m'}"


def test_a_run_that_a_pause_has_held_and_nobody_lets_go_on_has_not_failed() -> None:
    """It was admitted, and has done nothing yet."""
    held = asking(admitted_at=NOW - 600, rung=0, phase=Phase.FACTS)
    assert ended(after(held, laid(ControlKind.REJECT))) == (
        State.CANCELLED, Reason.REJECTED, "rejected by ann: because",
    )  # fmt: skip


# -- what ends or holds it meanwhile --


def test_an_order_to_cancel_ends_it() -> None:
    """Before anything else is looked at."""
    assert ended(after(asking(), laid(ControlKind.CANCEL), laid(ControlKind.APPROVE))) == (
        State.CANCELLED, Reason.OPERATOR, "ann: because",
    )  # fmt: skip


def test_it_ends_when_its_alerts_have_resolved() -> None:
    """Also between two rungs; not what no alert began."""
    assert ended(after(asking(), firing=0))[:2] == (State.CANCELLED, Reason.RESOLVED)
    assert ended(after(asking(admitted_at=NOW), firing=0)) == (
        State.CANCELLED, Reason.RESOLVED, "all its alerts have resolved while a person was asked for the next rung",
    )  # fmt: skip
    assert after(asking(origin=Origin.HAND), firing=0)[0].run.state is State.AWAITING_APPROVAL
    assert ended(after(asking(), firing=0, lost=1))[1] is Reason.LOST
    assert (
        after(asking(admitted_at=NOW), firing=0, lost=1)[0].run.state is State.AWAITING_APPROVAL
    )  # quiet, not resolved


def test_a_mode_that_has_fallen_is_obeyed() -> None:
    """`off` ends it; `dry-run` makes a plan of what has not begun, and leaves a ladder to its answer."""
    assert ended(after(asking(), mode="off")) == (
        State.CANCELLED, Reason.OFF, "the mode in force became `off` while a person was asked",
    )  # fmt: skip
    planned, effect = after(asking(), mode="dry-run")
    assert effect is None
    assert (planned.run.state, planned.run.asked_at, planned.run.ask_until) == (State.WAITING, None, None)
    assert planned.run.approved_hash is None
    assert planned.steps == ()
    climbing, effect = after(asking(admitted_at=NOW), mode="dry-run")
    assert isinstance(effect, Rest)
    assert climbing.run.state is State.AWAITING_APPROVAL


def test_a_pause_holds_even_what_was_approved() -> None:
    """Nothing begins under it."""
    pause = Control(id="c2", kind=ControlKind.PAUSE, laid_at=NOW + 30, author="ann", reason="deploy")
    held, effect = after(asking(), pause, laid(ControlKind.APPROVE))
    assert isinstance(effect, Rest)
    assert (held.run.state, held.run.reason) == (State.AWAITING_APPROVAL, Reason.PAUSED)


@pytest.mark.parametrize(
    ("approvers", "quorum", "words"),
    [
        ((), 1, "whoever may operate the daemon may approve"),
        (("ann",), 1, "ann may approve"),
        (("ann", "bob"), 1, "1 of ann, bob may approve"),
        (("ann", "bob"), 2, "2 of ann, bob may approve"),
    ],
)
def test_the_question_says_who_may_answer_and_how_many_have_to(
    approvers: tuple[str, ...], quorum: int, words: str
) -> None:
    """One of several is told from all of them."""
    asked = ask(story(1, rung=1, plan_hash="p1"), rule(approvers=approvers, quorum=quorum), ASKED)
    assert asked.run.because is not None
    assert asked.run.because.startswith(f"{words} till ")
