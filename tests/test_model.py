"""The model: transitions, durations, instants, identifiers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW, run

from remediator.errors import IllegalTransition
from remediator.model.identity import new_id
from remediator.model.run import LEGAL, Mode, Reason, State, lowest, transition
from remediator.model.time import format_duration, format_rfc3339, parse_duration, parse_rfc3339

ENDS = {State.SUCCEEDED, State.FAILED, State.PLANNED, State.BLOCKED, State.CANCELLED}


@pytest.mark.parametrize("origin", list(State))
@pytest.mark.parametrize("to", list(State))
def test_a_run_moves_only_as_the_table_says(origin: State, to: State) -> None:
    """Everything else is a programmer's error."""
    before = run(1, state=origin)
    if to not in LEGAL[origin]:
        with pytest.raises(IllegalTransition, match=f"{origin} to {to}"):
            transition(before, to, NOW)
        return
    after = transition(before, to, NOW, Reason.STEP, "why")
    assert (after.state, after.reason, after.because) == (to, Reason.STEP, "why")
    assert after.ended_at == (NOW if to in ENDS else None)
    assert after.open == (to not in ENDS)
    assert to not in ENDS or after.due_at is None


def test_every_open_state_leads_to_an_end() -> None:
    """No run can be caught for ever."""
    reaches = set(ENDS)
    while True:
        more = {state for state in State if LEGAL[state] & reaches} - reaches
        if not more:
            break
        reaches |= more
    assert reaches == set(State)


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
