"""The model: transitions, durations, instants, identifiers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW, run

from remediator.errors import IllegalTransition
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import (
    LEGAL,
    Book,
    Mode,
    Origin,
    Phase,
    Priority,
    Reason,
    Run,
    State,
    Step,
    StepState,
    lowest,
    transition,
)
from remediator.model.time import format_duration, format_rfc3339, parse_duration, parse_rfc3339

ENDS = {State.SUCCEEDED, State.FAILED, State.PLANNED, State.BLOCKED, State.CANCELLED}


def test_the_table_of_transitions_is_the_one_that_was_agreed() -> None:
    """Written out a second time, in words: a slip in the table would let a run go where no code expects it."""
    table = {origin: {str(to) for to in states} for origin, states in LEGAL.items()}
    assert table == {
        None: {"waiting"},
        "waiting": {"awaiting_approval", "running", "blocked", "cancelled", "failed"},
        "awaiting_approval": {"waiting", "running", "cancelled", "failed"},
        "running": {
            "awaiting_approval",
            "verifying",
            "succeeded",
            "failed",
            "planned",
            "blocked",
            "cancelled",
            "unknown",
        },
        "verifying": {"running", "succeeded", "failed", "cancelled", "unknown"},
        "unknown": {"succeeded", "failed"},
        **{end: set() for end in ("succeeded", "failed", "planned", "blocked", "cancelled")},
    }


def test_a_new_run_and_a_new_step_have_done_nothing() -> None:
    """Whoever makes one says only what it is."""
    fresh = Run("r1", "restart", "h", State.WAITING, NOW, None)
    assert (fresh.origin, fresh.priority, fresh.mode, fresh.phase) == (
        Origin.ALERT, Priority.P2, Mode.AUTO, Phase.FACTS,
    )  # fmt: skip
    assert not any((fresh.wrote, fresh.drill, fresh.reads_ahead, fresh.second_chance))
    assert (fresh.poll, fresh.paused_for, fresh.fence, fresh.rung) == (0, 0.0, 0, 0)
    assert fresh.book is Book.LIVE
    step = Step(Phase.STEPS, 0, 0, 1, "exec.run", None, StepState.STARTED)
    assert not any((step.refuted, step.repeatable, step.unsent))
    assert step.key == (0, Phase.STEPS, 0, 0)
    assert Control("c1", ControlKind.PAUSE, NOW, "ann", "deploy").book is Book.LIVE


def test_only_runs_at_work_take_a_place() -> None:
    """One that waits, for whatever, takes none."""
    assert {state for state in State if state.at_work} == {State.RUNNING, State.VERIFYING}


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, None),
        ({"healed_at": NOW + 60}, 60),
        ({"state": State.CANCELLED, "reason": Reason.RESOLVED, "ended_at": NOW + 30}, 30),
        ({"state": State.CANCELLED, "reason": Reason.RESOLVED, "ended_at": NOW + 30, "started_at": NOW + 1}, None),
        ({"state": State.CANCELLED, "reason": Reason.OPERATOR, "ended_at": NOW + 30}, None),
        ({"state": State.SUCCEEDED, "reason": Reason.RESOLVED, "ended_at": NOW + 30}, None),
    ],
)
def test_what_healed_by_itself_tells_after_how_long(changes: dict[str, Any], seconds: float | None) -> None:
    """Where it was waited for, and nothing had begun; or where a dry run has seen it."""
    assert run(1, created_at=NOW, **changes).healed_after == seconds


@pytest.mark.parametrize("origin", list(State))
@pytest.mark.parametrize("to", list(State))
def test_a_run_moves_only_as_the_table_says(origin: State, to: State) -> None:
    """Everything else is a programmer's error."""
    before = run(1, state=origin, ending=State.FAILED)
    if to not in LEGAL[origin]:
        with pytest.raises(IllegalTransition, match=f"{origin} to {to}"):
            transition(before, to, NOW)
        return
    after = transition(before, to, NOW, Reason.STEP, "why")
    assert (after.state, after.reason, after.because) == (to, Reason.STEP, "why")
    assert after.ended_at == (NOW if to in ENDS else None)
    assert after.open == (to not in ENDS)
    assert (after.due_at, after.ending) == ((None, None) if to in ENDS else (before.due_at, before.ending))


def test_every_open_state_leads_to_an_end() -> None:
    """No run can be caught for ever."""
    reaches = set(ENDS)
    while True:
        more = {state for state in State if LEGAL[state] & reaches} - reaches
        if not more:
            break
        reaches |= more
    assert reaches == set(State)


def test_a_run_that_failed_is_known_by_when_it_did() -> None:
    """The breaker counts it from when it became unknown, and no longer once it has proved good."""
    unknown = transition(run(1, state=State.RUNNING), State.UNKNOWN, NOW, Reason.INTERRUPTED)
    assert unknown.failed_at == NOW
    assert transition(unknown, State.FAILED, NOW + 60).failed_at == NOW
    assert transition(unknown, State.SUCCEEDED, NOW + 60).failed_at is None
    assert transition(run(1, state=State.VERIFYING), State.FAILED, NOW).failed_at == NOW
    assert transition(run(1, state=State.RUNNING), State.CANCELLED, NOW).failed_at is None


@pytest.mark.parametrize(
    ("mode", "drill", "book"),
    [
        (Mode.AUTO, False, Book.LIVE),
        (Mode.APPROVE, False, Book.LIVE),
        (Mode.DRY_RUN, False, Book.DRY),
        (Mode.AUTO, True, Book.DRILL),
        (Mode.DRY_RUN, True, Book.DRILL),
    ],
)
def test_a_run_is_written_in_one_of_three_books(mode: Mode, drill: bool, book: Book) -> None:
    """A drill in its own, whatever the mode."""
    assert run(1, mode=mode, drill=drill).book is book


@pytest.mark.parametrize("origin", list(Origin))
def test_only_what_an_alert_opened_is_there_for_it(origin: Origin) -> None:
    """What a clock, a person or an earlier run began has something to do without one."""
    assert run(1, origin=origin).by_alert == (origin is Origin.ALERT)


@pytest.mark.parametrize(
    ("laid_on", "covered"),
    [
        ({}, {("restart", "web"), ("restart", None), ("scale", "web"), ("scale", "db")}),
        ({"rule": "restart"}, {("restart", "web"), ("restart", None)}),
        ({"target": "web"}, {("restart", "web"), ("scale", "web")}),
        ({"rule": "restart", "target": "web"}, {("restart", "web")}),
    ],
)
def test_a_control_covers_what_it_is_laid_on(laid_on: dict[str, str], covered: set[tuple[str, str | None]]) -> None:
    """A target that is not known yet is not held by its name."""
    control = Control("c1", ControlKind.PAUSE, NOW, "ann", "deploy", **laid_on)
    cases = [("restart", "web"), ("restart", None), ("scale", "web"), ("scale", "db")]
    assert {case for case in cases if control.covers(*case)} == covered


def test_the_lowest_mode_is_in_force() -> None:
    """off < dry-run < approve < auto."""
    assert [mode.rank for mode in (Mode.OFF, Mode.DRY_RUN, Mode.APPROVE, Mode.AUTO)] == [0, 1, 2, 3]
    assert lowest(Mode.AUTO, Mode.DRY_RUN) is Mode.DRY_RUN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("90s", 90), ("1h30m", 5400), ("7d", 604800), ("1d12h", 129600), ("5ms", 0.005)],
)
def test_a_duration_is_prometheus_notation(text: str, seconds: float) -> None:
    """As everyone knows it."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "1.5h", "5 m", "30m1h", "1h1h", "-5m", "400y", "٣m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Bare numbers too: nobody knows their unit."""
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_written_duration_is_read_back_close_enough_for_people(seconds: int) -> None:
    """Its two largest units."""
    back = parse_duration(format_duration(seconds))
    assert back == pytest.approx(seconds, rel=0.05, abs=1)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-23T06:11:19.068841875Z", 1795414279.068841),
        ("2026-11-23T13:11:19+07:00", 1795414279.0),
        ("2024-02-29T00:00:00Z", 1709164800.0),
    ],
)
def test_rfc_3339_is_read_with_any_fraction_and_offset(text: str, instant: float) -> None:
    """Go writes up to nanoseconds."""
    assert parse_rfc3339(text) == pytest.approx(instant, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-23", "2026-11-23T06:11:19", "2026-02-30T00:00:00Z", "10000-01-01T00:00:00Z"]
)
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    """A time without an offset could be anywhere."""
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_rfc3339(text)


@given(st.floats(0, 4e9))
def test_an_instant_is_written_in_utc_to_the_millisecond(instant: float) -> None:
    """And read back."""
    assert parse_rfc3339(format_rfc3339(instant)) == pytest.approx(instant, abs=0.0011)


def test_identifiers_sort_as_they_were_made() -> None:
    """Within a millisecond too."""
    made = [new_id(NOW + number / 10_000) for number in range(1000)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {26}
