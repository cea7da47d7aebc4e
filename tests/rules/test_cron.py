"""Schedules: when a cron line is due, on ordinary days and on those when the clock changes."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.rules.cron import Schedule

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Give the instant at which the wall clock of a zone shows a time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def due(line: str, first: str, count: int, zone: str = "UTC") -> list[str]:
    """Give what the wall clock shows when a line is next due, with its offset where that is not UTC."""
    schedule, instant, shown = Schedule.of(line, zone), at(first, zone), []
    for _ in range(count):
        found = schedule.next_after(instant)
        assert found is not None
        assert found > instant
        instant = found
        shown.append(datetime.fromtimestamp(instant, ZoneInfo(zone)).isoformat(timespec="minutes"))
    return [text.removesuffix("+00:00") for text in shown]


# --- what the fields mean ---


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("30 4 * * *", ["2026-07-16T04:30", "2026-07-17T04:30"]),
        ("*/20 13-14 * * *", ["2026-07-15T13:00", "2026-07-15T13:20", "2026-07-15T13:40", "2026-07-15T14:00"]),
        ("5,10-12/2 12 * * *", ["2026-07-15T12:05", "2026-07-15T12:10", "2026-07-15T12:12", "2026-07-16T12:05"]),
        ("0 0 1 jan *", ["2027-01-01T00:00"]),
        ("0 0 * FEB-mar,12 sun", ["2026-12-06T00:00"]),
        ("0 0 * * 7", ["2026-07-19T00:00"]),
        ("0 0 * * 0", ["2026-07-19T00:00"]),
        ("0 0 * * fri-sun", ["2026-07-17T00:00", "2026-07-18T00:00", "2026-07-19T00:00", "2026-07-24T00:00"]),
        ("0 0 * * 5-7", ["2026-07-17T00:00", "2026-07-18T00:00", "2026-07-19T00:00", "2026-07-24T00:00"]),
        ("0 0 * * mon-fri", ["2026-07-16T00:00", "2026-07-17T00:00", "2026-07-20T00:00"]),
        ("0 0 31 * *", ["2026-07-31T00:00", "2026-08-31T00:00", "2026-10-31T00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 */23 * * *", ["2026-07-15T23:00", "2026-07-16T00:00"]),
        (" 0\t0  * * * ", ["2026-07-16T00:00"]),
        ("@hourly", ["2026-07-15T13:00", "2026-07-15T14:00"]),
        ("@daily", ["2026-07-16T00:00"]),
        ("@midnight", ["2026-07-16T00:00"]),
        ("@weekly", ["2026-07-19T00:00"]),
        ("@monthly", ["2026-08-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00"]),
        ("@annually", ["2027-01-01T00:00", "2028-01-01T00:00"]),
    ],
)
def test_fields_mean_what_cron_means(line: str, expected: list[str]) -> None:
    """Numbers, names, ranges, lists, steps and nicknames, from noon of a Wednesday."""
    assert due(line, "2026-07-15T12:00", len(expected)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 1,20 * fri", ["2026-07-17T00:00", "2026-07-20T00:00", "2026-07-24T00:00"]),  # either
        ("0 0 20 * *", ["2026-07-20T00:00", "2026-08-20T00:00"]),
        ("0 0 * * fri", ["2026-07-17T00:00", "2026-07-24T00:00"]),
        ("0 0 */10 * fri", ["2026-07-31T00:00", "2026-08-21T00:00"]),  # both: `*/10` begins with `*`
        (
            "0 0 17 * */2",
            ["2026-09-17T00:00", "2026-10-17T00:00"],
        ),  # both: a 17th on Sunday, Tuesday, Thursday, Saturday
    ],
)
def test_two_restricted_day_fields_are_joined_by_or(line: str, expected: list[str]) -> None:
    """Either is enough where neither begins with `*`; else both must match, as Vixie's cron has it."""
    assert due(line, "2026-07-15T12:00", len(expected)) == expected


def test_next_is_strictly_after() -> None:
    """At the instant itself it is the following one; half a second before, that instant."""
    schedule = Schedule.of("0 12 * * *")
    assert schedule.next_after(at("2026-07-15T12:00")) == at("2026-07-16T12:00")
    assert schedule.next_after(at("2026-07-15T12:00") - 0.5) == at("2026-07-15T12:00")
    assert schedule.next_after(at("2026-07-15T12:00") + 0.5) == at("2026-07-16T12:00")


def test_times_are_those_of_the_zone() -> None:
    """Half past four in Berlin is half past two of UTC in summer."""
    assert Schedule.of("30 4 * * *", BERLIN).next_after(at("2026-07-15T00:00")) == at("2026-07-15T02:30")


@pytest.mark.parametrize(
    "line", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "*/5 2 25-31 3 */7"]
)  # the last: only in an hour that Berlin always skips
def test_what_never_comes_is_none(line: str) -> None:
    """No such day is ever there; the search for it has an end."""
    assert Schedule.of(line, BERLIN).next_after(at("2026-07-15T12:00")) is None


@pytest.mark.fault("DST gap and overlap")
def test_a_leap_day_on_one_weekday_is_waited_for() -> None:
    """29 February on a Sunday comes after 40 years where a century has no leap year: still found, all 400 years long."""
    expected = [date(year, 2, 29) for year in range(2028, 2428, 4) if year % 100 or year % 400 == 0]
    sundays = [f"{day}T00:00" for day in expected if day.isoweekday() == 7]
    assert due("0 0 29 2 */7", "2026-01-01T00:00", len(sundays)) == sundays
    assert max(int(b[:4]) - int(a[:4]) for a, b in pairwise(sundays)) == 40


# --- what authors are told ---


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("@reboot", "`@reboot` is no time: a schedule starts runs by the clock, not when a machine boots"),
        ("@dialy", "`@dialy` is not known to cron; did you mean `@daily`?"),
        (
            "@every 5m",
            "`@every 5m` is not known to cron (known: @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly)",
        ),
        (
            "0 * * * * *",
            (
                "cron has five fields (minute, hour, day of month, month, day of week), and `0 * * * * *` has 6: "
                "write it as in `30 4 * * mon-fri`"
            ),
        ),
        ("60 * * * *", "`60` is no minute: write 0 to 59"),
        ("* 24 * * *", "`24` is no hour: write 0 to 23"),
        ("* * 0 * *", "`0` is no day of month: write 1 to 31"),
        ("* * * 13 *", "`13` is no month: write 1 to 12 or jan to dec"),
        ("* * * juli *", "`juli` is no month; did you mean `jul`?"),
        ("* * * * 8", "`8` is no day of week: write 0 to 7 or sun to sat"),
        ("* * * * monday", "`monday` is no day of week; did you mean `mon`?"),
        ("1,, * * * *", "`` is no minute: write 0 to 59"),
        ("-5 * * * *", "`` is no minute: write 0 to 59"),
        ("0~30 * * * *", "`0~30` is no minute: write 0 to 59"),
        ("*/0 * * * *", "`*/0` in the field minute: a step is a number from 1 on, as in `*/15`"),
        ("*/ * * * *", "`*/` in the field minute: a step is a number from 1 on, as in `*/15`"),
        ("5/15 * * * *", "`5/15` in the field minute: a step goes with `*` or a range, as in `5-59/15`"),
        ("* 22-3 * * *", "`22-3` in the field hour ends before it begins: write it as two, `22-23,0-3`"),
        ("* * * * sat-mon", "`sat-mon` in the field day of week ends before it begins: write it as two, `6-7,0-1`"),
    ],
)
def test_what_is_no_cron_line_is_refused_in_plain_words(line: str, told: str) -> None:
    """What is wrong, and what to write instead."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the whole sentence is compared
        Schedule.of(line)
    assert str(refused.value) == told


def test_a_wrong_zone_is_refused() -> None:
    """With the nearest that there is."""
    with pytest.raises(ValueError, match="did you mean `Europe/Berlin`"):
        Schedule.of("@daily", "Europe/Berln")


# --- when the clock changes ---


@pytest.mark.parametrize(
    ("zone", "day", "line", "expected"),
    [
        # Skipped: once, at the end of the gap; the day after as ever.
        (BERLIN, "2026-03-29", "30 2 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        (BERLIN, "2026-03-29", "0,30 2 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        (BERLIN, "2026-03-29", "0 2,3 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        (NEW_YORK, "2026-03-08", "15 2 * * *", ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
        (LORD_HOWE, "2026-10-04", "15 2 * * *", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        (LORD_HOWE, "2026-10-04", "30 2 * * *", ["2026-10-04T02:30+11:00", "2026-10-05T02:30+11:00"]),
        # Repeated: the first time only.
        (BERLIN, "2026-10-25", "30 2 * * *", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (NEW_YORK, "2026-11-01", "30 1 * * *", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        (LORD_HOWE, "2026-04-05", "45 1 * * *", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
        (BERLIN, "2026-10-25", "0 3 * * *", ["2026-10-25T03:00+01:00", "2026-10-26T03:00+01:00"]),
        # With `*` in the minute or the hour: the clock that is shown.
        (BERLIN, "2026-03-29", "30 */2 * * *", ["2026-03-29T00:30+01:00", "2026-03-29T04:30+02:00"]),
        (BERLIN, "2026-03-29", "*/30 2 * * *", ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"]),
        (
            BERLIN,
            "2026-10-25",
            "*/30 2 * * *",
            ["2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00"],
        ),
        (
            NEW_YORK,
            "2026-11-01",
            "0 * * * *",
            ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00", "2026-11-01T02:00-05:00"],
        ),
        # Midnight itself may be skipped, or shown twice.
        ("America/Santiago", "2026-09-05", "0 0 * * sun", ["2026-09-06T01:00-03:00", "2026-09-13T00:00-03:00"]),
        ("America/St_Johns", "2006-10-28", "0 0 * * *", ["2006-10-29T00:00-02:30", "2006-10-30T00:00-03:30"]),
        # A skipped day is no daylight saving time: Samoa had no 30 December 2011.
        ("Pacific/Apia", "2011-12-29", "0 12 * * *", ["2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00"]),
    ],
)
@pytest.mark.fault("DST gap and overlap")
def test_the_days_when_the_clock_changes(zone: str, day: str, line: str, expected: list[str]) -> None:
    """Fixed times come once on each day, and what comes all the time goes on coming, as cronie has it."""
    assert due(line, f"{day}T00:00", len(expected), zone) == expected


def test_every_ten_minutes_is_every_ten_minutes() -> None:
    """Whatever the clock does, the next is ten minutes away."""
    for zone, day in [
        (BERLIN, "2026-03-29"),
        (BERLIN, "2026-10-25"),
        (LORD_HOWE, "2026-04-05"),
        (LORD_HOWE, "2026-10-04"),
    ]:
        schedule, begin = Schedule.of("*/10 * * * *", zone), at(f"{day}T00:00", zone)
        for tick in range(30):
            assert schedule.next_after(begin + 600 * tick) == begin + 600 * (tick + 1)


class Minute(NamedTuple):
    """One minute as it passes."""

    instant: int
    shown: datetime  # on the wall clock
    reached: list[datetime]  # what the wall clock shows, or has skipped, for the first time


SPANS = [
    (BERLIN, "2026-03-15", 25),
    (BERLIN, "2026-10-12", 25),
    (NEW_YORK, "2026-02-25", 25),
    (NEW_YORK, "2027-10-20", 25),
    (LORD_HOWE, "2026-03-20", 25),
    (LORD_HOWE, "2026-09-20", 25),
    ("America/St_Johns", "2006-10-15", 25),  # set back a minute after midnight: a day's end comes twice
]


@cache
def minutes_of(zone: str, first: str, days: int) -> list[Minute]:
    """Live through some weeks minute by minute, as the daemon of cron does, with an eye on the wall clock."""
    begin, passed, latest = int(at(f"{first}T00:00", zone)), [], None
    for instant in range(begin, begin + days * 86_400, 60):
        shown = datetime.fromtimestamp(instant, ZoneInfo(zone)).replace(tzinfo=None)
        reached = []
        while latest is None or latest < shown:
            latest = shown if latest is None else latest + timedelta(minutes=1)
            reached.append(latest)
        passed.append(Minute(instant, shown, reached))
    return passed


class Line(NamedTuple):
    """A cron line, and what it means said in the plainest way."""

    text: str
    allowed: list[set[int]]


BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def parts(draw: st.DrawFn, bounds: tuple[int, int]) -> tuple[str, set[int]]:
    """Draw one part of a field with the values that it stands for."""
    first, last = bounds
    low = draw(st.integers(first, last))
    high = draw(st.integers(low, last))
    step = draw(st.integers(1, 20))
    return draw(
        st.sampled_from(
            [
                (f"{low}", {low}),
                (f"{low}-{high}", set(range(low, high + 1))),
                (f"{low}-{high}/{step}", {value for value in range(low, high + 1) if (value - low) % step == 0}),
            ]
        )
    )


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Draw cron lines, most of which are due now and then in the hours when clocks change."""
    texts, allowed = [], []
    for bounds in BOUNDS:
        everything = set(range(bounds[0], bounds[1] + 1))
        step = draw(st.integers(1, 20))
        stepped = {value for value in everything if (value - bounds[0]) % step == 0}
        starred = st.sampled_from([("*", everything), ("*", everything), (f"*/{step}", stepped)])
        if bounds == (0, 6):
            starred = st.just(("*", everything))  # 7 is Sunday too: a step over it has an example of its own
        hours = st.sampled_from([("2", {2}), ("1-3", {1, 2, 3}), ("0,23", {0, 23}), ("0-2", {0, 1, 2})])
        chosen = draw(
            st.lists(hours if bounds == (0, 23) else parts(bounds), min_size=1, max_size=2) | st.tuples(starred)
        )
        texts.append(",".join(text for text, _ in chosen))
        allowed.append(set().union(*(values for _, values in chosen)))
    return Line(" ".join(texts), allowed)


def _matches(line: Line, wall: datetime) -> bool:
    minute, hour, day, month, weekday = line.allowed
    if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
        return False
    of_month, of_week = wall.day in day, wall.isoweekday() % 7 in weekday
    fields = line.text.split()
    if fields[2][0] == "*" or fields[4][0] == "*":
        return of_month and of_week
    return of_month or of_week


def _instants(line: Line, passed: list[Minute]) -> list[int]:
    if line.text[0] == "*" or line.text.split()[1][0] == "*":
        return [minute.instant for minute in passed if _matches(line, minute.shown)]
    return [minute.instant for minute in passed if any(_matches(line, wall) for wall in minute.reached)]


@settings(max_examples=60, deadline=None)
@given(lines(), st.sampled_from(SPANS), st.lists(st.floats(0, 1), min_size=1, max_size=3), st.integers(-180, 180))
def test_what_is_next_is_what_comes_minute_by_minute(
    line: Line, span: tuple[str, str, int], places: list[float], near: int
) -> None:
    """From anywhere in weeks with a change of the clock, and from around the change: as one who lives through them."""
    passed, schedule = minutes_of(*span), Schedule.of(line.text, span[0])
    expected = _instants(line, passed)
    begin, end = passed[0].instant, passed[-1].instant
    changes = [b.instant for a, b in pairwise(passed) if b.shown - a.shown != timedelta(minutes=1)]
    starts = [begin + place * (end - begin) for place in places] + [change + near * 60 for change in changes]
    for start in starts:
        following = bisect_right(expected, start)
        found = schedule.next_after(start)
        if following < len(expected):
            assert found == expected[following], datetime.fromtimestamp(start, UTC)
        else:
            assert found is None or found > end
        assert list(schedule.between(start, end)) == expected[following : bisect_right(expected, end)]
