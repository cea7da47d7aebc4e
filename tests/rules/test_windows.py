"""Windows and modes: which instants hold, what an author is told, and what is in force."""

from __future__ import annotations

import calendar
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from remediator import intervals
from remediator.document import read_document
from remediator.forms import Form, faults_of, schema_of
from remediator.intervals import MONTHS, WEEKDAYS, IntervalForm, zone_of
from remediator.model.run import Mode
from remediator.rules.form import ModeEntryForm
from remediator.rules.windows import Modes, Window

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


class Windows(Form):
    """A configuration that has nothing but windows."""

    windows: dict[str, list[IntervalForm]] = Field(default_factory=dict)


def window(*written: dict[str, Any]) -> Window:
    """Make a window of intervals as they are written."""
    return Window.of([IntervalForm.model_validate(interval) for interval in written])


def hours(start: str, end: str) -> list[dict[str, str]]:
    """Write one time range."""
    return [{"start_time": start, "end_time": end}]


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Give the instant at which the wall clock of a zone shows a time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def minutes_held(found: Window, first: str, last: str, zone: str) -> list[str]:
    """Give what the wall clock shows, in order, in all the minutes that hold between two times."""
    instants = range(int(at(first, zone)), int(at(last, zone)), 60)
    return [f"{datetime.fromtimestamp(t, ZoneInfo(zone)):%H:%M}" for t in instants if found.holds(t)]


def faults(tmp_path: Path, text: str) -> list[str]:
    """Give what an author is told of a configuration, each with its key."""
    (tmp_path / "remediator.yml").write_text(text, encoding="utf-8")
    document = read_document(tmp_path / "remediator.yml", "remediator.yml")
    assert document.faults == ()
    try:
        Windows.model_validate(document.value)
    except ValidationError as error:
        problems = [document.problem(fault) for fault in faults_of(error, Windows, document.value)]
        return [f"{problem.key}: {problem.message}" for problem in problems]
    return []


# --- which instants hold ---


def test_the_example_of_the_rule_language(tmp_path: Path) -> None:
    """The window `night`, as the rule language writes it, holds from ten in the evening till seven, in Berlin."""
    text = """
windows:
  night:
    - {times: [{start_time: '22:00', end_time: '07:00'}], location: Europe/Berlin}
"""
    (tmp_path / "remediator.yml").write_text(text, encoding="utf-8")
    written = Windows.model_validate(read_document(tmp_path / "remediator.yml", "remediator.yml").value)
    night = Window.of(written.windows["night"])
    shown = {time: night.holds(at(f"2026-07-15T{time}", BERLIN)) for time in ("21:59:59", "22:00", "06:59:59", "07:00")}
    assert shown == {"21:59:59": False, "22:00": True, "06:59:59": True, "07:00": False}
    assert not night.holds(at("2026-07-15T06:00"))  # of UTC: eight in Berlin


def test_times_need_no_quotes(tmp_path: Path) -> None:
    """In YAML 1.2 neither 22:00 nor 1:5 is a number, so both may stand bare; a single day is one and may as well."""
    text = "windows:\n  x:\n    - {times: [{start_time: 22:00, end_time: 24:00}], days_of_month: [1:5, -1, 9], years: [2027]}\n"
    assert faults(tmp_path, text) == []


def test_a_range_past_midnight_belongs_to_the_day_on_which_it_began() -> None:
    """Friday night ends on Saturday morning; it does not hold on Friday morning, which was Thursday's night."""
    friday = window({"times": hours("22:00", "07:00"), "weekdays": ["friday"]})
    assert calendar.weekday(2026, 7, 17) == calendar.FRIDAY
    assert not friday.holds(at("2026-07-17T06:00"))
    assert friday.holds(at("2026-07-17T22:00"))
    assert friday.holds(at("2026-07-18T06:59"))
    assert not friday.holds(at("2026-07-18T07:00"))
    assert not friday.holds(at("2026-07-18T22:00"))


def test_the_last_night_of_a_year_ends_in_the_next() -> None:
    """Days, months and years too are those of the day on which the range began."""
    eve = window({"times": hours("22:00", "07:00"), "days_of_month": [-1], "months": ["december"], "years": ["2026"]})
    assert eve.holds(at("2027-01-01T06:59"))
    assert not eve.holds(at("2026-12-31T06:59"))


def test_any_interval_is_enough_and_within_one_all_keys_must_hold() -> None:
    """Weekends, or the nights of the other days."""
    quiet = window(
        {"weekdays": ["saturday", "sunday"]},
        {"weekdays": ["monday:friday"], "times": [*hours("00:00", "06:00"), *hours("20:00", "24:00")]},
    )
    assert quiet.holds(at("2026-07-18T12:00"))
    assert quiet.holds(at("2026-07-17T23:59:59"))
    assert quiet.holds(at("2026-07-17T05:59"))
    assert not quiet.holds(at("2026-07-17T12:00"))


@pytest.mark.parametrize(
    ("days", "held"),
    [
        (["-3:-1"], [26, 27, 28]),
        (["-1"], [28]),
        (["28:-1"], [28]),
        (["29:31"], []),
        (["27:31"], [27, 28]),
        (["-31:-27"], [1, 2]),
        (["1:-27"], [1, 2]),
        (["-29"], []),
    ],
)
def test_days_of_a_short_month(days: list[str], held: list[int]) -> None:
    """Negative days count from the month's own end, and a range is cut to the month, in Alertmanager's way."""
    february = window({"days_of_month": days})
    assert [day for day in range(1, 29) if february.holds(at(f"2027-02-{day:02}T12:00"))] == held


@pytest.mark.fault("DST gap and overlap")
def test_29_february() -> None:
    """It is the last day of its month in a leap year, and not there in another."""
    leap_day = window({"days_of_month": ["29"], "months": ["february"]})
    last = window({"days_of_month": ["-1"], "months": ["2"]})
    assert leap_day.holds(at("2028-02-29T00:00"))
    assert last.holds(at("2028-02-29T23:59"))
    assert not last.holds(at("2028-02-28T23:59"))
    assert not leap_day.holds(at("2027-03-01T00:00"))


@pytest.mark.parametrize(
    ("zone", "day", "times", "shown"),
    [
        (BERLIN, "2026-03-29", ("01:58", "03:02"), ["01:58", "01:59", "03:00", "03:01"]),
        (NEW_YORK, "2026-03-08", ("01:58", "03:02"), ["01:58", "01:59", "03:00", "03:01"]),
        (LORD_HOWE, "2026-10-04", ("01:58", "02:32"), ["01:58", "01:59", "02:30", "02:31"]),
        (BERLIN, "2026-03-29", ("02:00", "03:00"), []),
        (BERLIN, "2026-10-25", ("02:58", "03:01"), ["02:58", "02:59", "02:58", "02:59", "03:00"]),
        (NEW_YORK, "2026-11-01", ("01:59", "02:01"), ["01:59", "01:59", "02:00"]),
        (LORD_HOWE, "2026-04-05", ("01:59", "02:01"), ["01:59", "01:59", "02:00"]),
        (BERLIN, "2026-10-25", ("01:59", "02:01"), ["01:59", "02:00", "02:00"]),
    ],
)
@pytest.mark.fault("DST gap and overlap")
def test_a_skipped_hour_never_comes_and_a_repeated_one_holds_twice(
    zone: str, day: str, times: tuple[str, str], shown: list[str]
) -> None:
    """A window says what the wall clock shows, whatever daylight saving time does to it."""
    found = window({"times": hours(*times), "location": zone})
    assert minutes_held(found, f"{day}T00:00", f"{day}T12:00", zone) == shown


@pytest.mark.parametrize(("day", "length"), [("2026-03-28", 8), ("2026-10-24", 10), ("2026-06-01", 9)])
def test_a_night_is_as_long_as_the_wall_clock_makes_it(day: str, length: int) -> None:
    """Ten in the evening to seven is eight hours when one is skipped in it, ten when one is repeated."""
    night = window({"times": hours("22:00", "07:00"), "location": BERLIN})
    end = f"{date.fromisoformat(day) + timedelta(days=1)}T12:00"
    assert len(minutes_held(night, f"{day}T12:00", end, BERLIN)) == length * 60


class Written(NamedTuple):
    """An interval as written, and what it means said in the plainest way."""

    form: dict[str, Any]
    times: list[tuple[int, int]]  # minutes; the end may lie past midnight
    days: set[tuple[int, int, int]]  # year, month, day


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


DAYS = [date(2027, 12, 1) + timedelta(days=n) for n in range(130)]  # a turn of the year, a leap day, a gap
RANGE_OF_DAYS = (
    st.tuples(st.integers(1, 31), st.integers(1, 31)).filter(lambda r: r[0] <= r[1])
    | st.tuples(st.integers(-31, -1), st.integers(-31, -1)).filter(lambda r: r[0] <= r[1])
    | st.tuples(st.integers(1, 28), st.integers(-4, -1))
)


def _pairs(first: int, last: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(first, last), st.integers(first, last)).map(lambda pair: (min(pair), max(pair)))


def _day_numbers(written: tuple[int, int], day: date) -> range:
    length = calendar.monthrange(day.year, day.month)[1]
    backwards = {-n: length + 1 - n for n in range(1, 32)}
    first, last = (backwards.get(number, number) for number in written)
    return range(first, last + 1)


@st.composite
def written_intervals(draw: st.DrawFn) -> Written:
    """Draw intervals in every form that the language has."""
    form: dict[str, Any] = {"location": draw(st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE]))}
    days = list(DAYS)
    times = [(0, 24 * 60)]
    if draw(st.booleans()):
        drawn = draw(st.lists(st.tuples(st.integers(0, 1439), st.integers(0, 1440)), min_size=1, max_size=2))
        drawn = [(start, end) for start, end in drawn if start != end] or [(60, 0)]
        form["times"] = [{"start_time": _clock(start), "end_time": _clock(end)} for start, end in drawn]
        times = [(start, end if end > start else end + 24 * 60) for start, end in drawn]
    if draw(st.booleans()):
        ranges = draw(st.lists(_pairs(0, 6), min_size=1, max_size=2))
        form["weekdays"] = [f"{WEEKDAYS[first]}:{WEEKDAYS[last]}" for first, last in ranges]
        days = [day for day in days if any(first <= (day.weekday() + 1) % 7 <= last for first, last in ranges)]
    if draw(st.booleans()):
        ranges = draw(st.lists(RANGE_OF_DAYS, min_size=1, max_size=2))
        form["days_of_month"] = [f"{first}:{last}" for first, last in ranges]
        days = [day for day in days if any(day.day in _day_numbers(written, day) for written in ranges)]
    if draw(st.booleans()):
        ranges = draw(st.lists(_pairs(1, 12), min_size=1, max_size=2))
        form["months"] = [draw(st.sampled_from([f"{a}:{b}", f"{MONTHS[a - 1]}:{MONTHS[b - 1]}"])) for a, b in ranges]
        days = [day for day in days if any(first <= day.month <= last for first, last in ranges)]
    if draw(st.booleans()) or len(form) == 1:
        first, last = draw(_pairs(2026, 2029))
        form["years"] = [f"{first}:{last}" if first != last else first]
        days = [day for day in days if first <= day.year <= last]
    return Written(form, times, {(day.year, day.month, day.day) for day in days})


def _holds(written: Written, wall: datetime) -> bool:
    for back in (0, 1):
        day = (wall - timedelta(days=back)).date()
        minute = (wall - datetime(day.year, day.month, day.day)) // timedelta(minutes=1)  # noqa: DTZ001  wall clock
        if (day.year, day.month, day.day) in written.days and any(a <= minute < b for a, b in written.times):
            return True
    return False


SPAN = (int(at("2027-12-03T00:00")), int(at("2028-04-05T00:00")))  # a day inside DAYS, for zones and nights


@given(written_intervals(), st.integers(*SPAN))
@pytest.mark.fault("DST gap and overlap")
def test_windows_hold_as_a_plain_reading_of_them_says(written: Written, start: int) -> None:
    """Over two days from any instant, at odd seconds: the same as looking every range of every day up."""
    found, zone = window(written.form), ZoneInfo(written.form["location"])
    for instant in range(start, start + 2 * 86_400, 1_117):
        wall = datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
        if DAYS[1] <= wall.date() < DAYS[-1]:
            assert found.holds(instant) == _holds(written, wall), wall


# --- whether a window ever opens ---


@pytest.mark.parametrize(
    ("interval", "opens"),
    [
        ({"days_of_month": ["30"], "months": ["february"]}, False),
        ({"days_of_month": ["31"], "months": ["april", "june"]}, False),
        ({"days_of_month": ["29"], "months": ["february"], "weekdays": ["sunday"]}, True),  # 2032
        ({"years": ["2025"]}, False),
        ({"years": ["2025"], "times": hours("22:00", "07:00")}, False),
        ({"years": ["2026"]}, True),
        ({"years": ["2026"], "months": ["january:june"]}, False),
        ({"years": ["2900"]}, True),
        ({"days_of_month": ["29"], "months": ["2"], "years": ["2027"]}, False),
        ({"days_of_month": ["29"], "months": ["2"], "years": ["2027:2028"]}, True),
        # The only hour of the year that this names is always skipped; half an hour later it is not.
        (
            {
                "weekdays": ["sunday"],
                "days_of_month": ["25:31"],
                "months": ["march"],
                "times": hours("02:15", "03:00"),
                "location": BERLIN,
            },
            False,
        ),
        (
            {
                "weekdays": ["sunday"],
                "days_of_month": ["25:31"],
                "months": ["march"],
                "times": hours("02:15", "03:01"),
                "location": BERLIN,
            },
            True,
        ),
    ],
)
def test_a_window_that_can_never_open_again_is_found(interval: dict[str, Any], opens: bool) -> None:
    """So that a rule which waits for one is refused when it is checked, not in the night."""
    assert window(interval).opens_after(at("2026-07-15T12:00")) is opens


def test_the_last_minute_of_a_window_still_counts() -> None:
    """The night of 31 December 2026 is over at seven on New Year's Day, and so is the window."""
    night = window({"years": ["2026"], "times": hours("22:00", "07:00")})
    assert night.opens_after(at("2027-01-01T06:59:59"))
    assert not night.opens_after(at("2027-01-01T07:00"))


@pytest.mark.parametrize(("day", "start"), [(25, "02:00"), (24, "22:00")])
def test_the_second_time_of_a_repeated_hour_is_still_to_come(day: int, start: str) -> None:
    """Before the clock goes back, what the hour shows has passed once and will be shown again, in a night's range too."""
    once = {"years": [2026], "months": [10], "days_of_month": [day]}
    hour = window({**once, "times": hours(start, "02:30"), "location": BERLIN})
    assert not hour.holds(at("2026-10-25T02:45", BERLIN))
    assert hour.opens_after(at("2026-10-25T02:45", BERLIN))
    assert not hour.opens_after(at("2026-10-25T02:45", BERLIN, fold=1))


def test_a_window_without_intervals_never_opens() -> None:
    """An empty list holds at no instant."""
    assert not window().holds(0)
    assert not window().opens_after(0)


QUARTERS = st.integers(0, 95).map(lambda quarter: _clock(quarter * 15))
IN_2028 = st.fixed_dictionaries(
    {"years": st.just([2028]), "location": st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE])},
    optional={
        "times": st.tuples(QUARTERS, QUARTERS).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: hours(*pair)),
        "weekdays": st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=2),
        "days_of_month": st.lists(RANGE_OF_DAYS.map(lambda pair: f"{pair[0]}:{pair[1]}"), min_size=1, max_size=2),
        "months": st.lists(st.integers(1, 12), min_size=1, max_size=2),
    },
)
YEAR_2028 = range(int(at("2028-01-01T00:00")), int(at("2029-01-02T12:00")), 900)


@settings(max_examples=50, deadline=None)
@given(IN_2028, st.integers(0, len(YEAR_2028) - 1))
def test_a_window_opens_if_any_instant_to_come_holds(form: dict[str, Any], start: int) -> None:
    """The same as asking for every quarter of an hour that is left of its only year."""
    found = window(form)
    assert found.opens_after(YEAR_2028[start]) == any(found.holds(instant) for instant in YEAR_2028[start:])


# --- what authors are told ---


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ("weekdays: [mondy]", "weekdays[0]: `mondy` is not a weekday; did you mean `monday`?"),
        ("weekdays: ['monday:fryday']", "weekdays[0]: `fryday` is not a weekday; did you mean `friday`?"),
        (
            "weekdays: ['friday:monday']",
            (
                "weekdays[0]: friday comes after monday, as a week runs from sunday to saturday: write two entries, "
                "`friday:saturday` and `sunday:monday`"
            ),
        ),
        ("weekdays: [[]]", "weekdays[0]: expected a weekday such as monday, or monday:friday, found a list"),
        (
            "weekdays: []",
            "weekdays: this list is empty, so the interval would never hold: leave the key out if any will do",
        ),
        ("weekdays: monday", "weekdays: expected a list, found text"),
        ("weekdays: ", "weekdays: expected a value, found nothing"),
        (
            "days_of_month: [0]",
            "days_of_month[0]: `0` is not a day of the month: write 1 to 31, or -1 for the last day to -31",
        ),
        (
            "days_of_month: ['-3:2']",
            "days_of_month[0]: `-3:2` would run into the next month: write two entries, `-3:-1` and `1:2`",
        ),
        ("days_of_month: ['5:1']", "days_of_month[0]: day 1 comes before day 5 in every month"),
        ("days_of_month: ['3:-30']", "days_of_month[0]: day -30 comes before day 3 in every month"),
        ("days_of_month: [true]", "days_of_month[0]: expected a day of the month such as 1, 1:5 or -3:-1, found true"),
        ("months: [13]", "months[0]: `13` is not a month: write january, or 1 to 12"),
        ("months: [juli]", "months[0]: `juli` is not a month; did you mean `july`?"),
        (
            "months: ['11:february']",
            (
                "months[0]: november comes after february in a year: write two entries, "
                "`november:december` and `january:february`"
            ),
        ),
        ("years: ['2028:2027']", "years[0]: 2028 comes after 2027: write the earlier year first"),
        ("years: [27]", "years[0]: `27` is not a year: write it as in 2027"),
        (
            "times: [{start_time: '7:00', end_time: '08:00'}]",
            "times[0].start_time: `7:00` is not a time: write hours and minutes, as in 07:00, up to 24:00",
        ),
        (
            "times: [{start_time: 7, end_time: '08:00'}]",
            "times[0].start_time: expected a time such as '22:00', found a number",
        ),
        ("times: [{start_time: '07:00'}]", "times[0].end_time: the key `end_time` is missing"),
        ("times: [{start_time: '24:00', end_time: '08:00'}]", "times[0]: nothing can start at 24:00: write 00:00"),
        (
            "times: [{start_time: '08:00', end_time: '08:00'}]",
            "times[0]: this starts and ends at the same time: for a whole day, write 00:00 to 24:00",
        ),
        ("times: '08:00'", "times: expected a list of time ranges, found text"),
        (
            "{years: [2027], location: Europe/Berln}",
            "location: `Europe/Berln` is not a time zone; did you mean `Europe/Berlin`?",
        ),
        (
            "{years: [2027], location: Local}",
            "location: `Local` would mean another time on every machine: write the zone's name, as in Europe/Berlin, or UTC",
        ),
        (
            "{years: [2027], location: ../../etc/passwd}",
            "location: `../../etc/passwd` is not a time zone: write a name of the IANA database, as in Europe/Berlin, or UTC",
        ),
        ("week_days: [monday]", "week_days: the key `week_days` is not known here; did you mean `weekdays`?"),
    ],
)
def test_faults_are_told_in_plain_words(tmp_path: Path, interval: str, told: str) -> None:
    """Where it stands, what was expected, and what to write instead."""
    written = interval if interval.startswith("{") else f"{{{interval}}}"
    assert faults(tmp_path, f"windows:\n  w:\n    - {written}\n")[:1] == [f"windows.w[0].{told}"]


def test_an_interval_that_leaves_everything_open_is_refused(tmp_path: Path) -> None:
    """A location alone is most likely a forgotten `times`; who means any time can say so."""
    told = faults(tmp_path, "windows: {w: [{location: Europe/Berlin}]}")
    assert [fault.split(":")[0] for fault in told] == ["windows.w[0]"]
    assert faults(tmp_path, "windows: {w: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}") == []


def test_words_may_begin_with_a_capital(tmp_path: Path) -> None:
    """As Alertmanager takes them, and writes them in its own documentation."""
    assert faults(tmp_path, "windows: {w: [{weekdays: ['Monday:Friday'], months: [January, 'May:august']}]}") == []


def test_utc_needs_no_database_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without time zones UTC works, and another zone's fault says what to install."""
    monkeypatch.setattr(intervals, "ZoneInfo", _no_zone)
    monkeypatch.setattr(intervals, "available_timezones", set)
    assert zone_of("UTC") is UTC
    with pytest.raises(ValueError, match="no time zone database here: install the package tzdata"):
        zone_of("Europe/Berlin")


def _no_zone(name: str) -> ZoneInfo:
    raise intervals.ZoneInfoNotFoundError(name)


@pytest.mark.parametrize("name", ["America", "localtime", "right/UTC", "posix/UTC", "zone.tab", "", "UTC\0", "A" * 300])
def test_only_names_of_zones_are_zones(name: str) -> None:
    """Folders, files beside the zones, and zones with leap seconds in them are refused, as is anything odd."""
    with pytest.raises(ValueError, match=r"is not a time zone|another time on every machine"):
        zone_of(name)


def test_the_schema_helps_editors() -> None:
    """It names weekdays and months, gives patterns for ranges, and refuses empty lists."""
    interval = schema_of(Windows)["$defs"]["IntervalForm"]["properties"]
    assert list(WEEKDAYS) in _found(interval["weekdays"], "enum")
    assert list(MONTHS) in _found(interval["months"], "enum")
    for key, good, bad in [
        ("weekdays", "monday:friday", "monday-friday"),
        ("days_of_month", "-3:-1", "1-5"),
        ("months", "1:3", "jan"),
        ("years", "2025:2027", "25"),
        ("location", "America/Argentina/Buenos_Aires", "localtime"),
    ]:
        patterns = _found(interval[key], "pattern")
        assert any(re.search(pattern, good) for pattern in patterns), key
        assert not any(re.search(pattern, bad) for pattern in patterns), key
    assert _found(interval["times"], "minItems") == [1]
    assert json.dumps(interval)


def _found(schema: Any, key: str) -> list[Any]:
    """Give all that stands under a key anywhere in a schema."""
    if isinstance(schema, list):
        return [value for item in schema for value in _found(item, key)]
    if not isinstance(schema, dict):
        return []
    below = [value for item in schema.values() for value in _found(item, key)]
    return [schema[key], *below] if key in schema else below


# --- modes ---

NIGHT = {"night": window({"times": hours("22:00", "07:00")}), "freeze": window({"months": ["december"]})}
NOON, MIDNIGHT, FROZEN = at("2026-07-15T12:00"), at("2026-07-15T00:00"), at("2026-12-24T00:00")


def modes(*entries: dict[str, str]) -> Modes:
    """Make modes of a list as it is written."""
    return Modes.of([ModeEntryForm.model_validate(entry) for entry in entries])


def test_the_first_entry_that_holds_decides() -> None:
    """The example of the rule language: a freeze goes before the night, and what is left waits for a person."""
    written = modes({"during": "freeze", "mode": "dry-run"}, {"during": "night", "mode": "auto"}, {"mode": "approve"})
    assert [written.in_force(instant, NIGHT) for instant in (NOON, MIDNIGHT, FROZEN)] == ["approve", "auto", "dry-run"]
    assert written.names == {"freeze", "night"}
    assert written.highest is Mode.AUTO


def test_where_no_entry_holds_it_is_a_dry_run() -> None:
    """Outside of every window, and for an empty list."""
    assert modes({"during": "night", "mode": "auto"}).in_force(NOON, NIGHT) is Mode.DRY_RUN
    assert modes().in_force(NOON, NIGHT) is Mode.DRY_RUN


@pytest.mark.parametrize("word", list(Mode))
def test_one_word_holds_at_any_time(word: Mode) -> None:
    """Nothing is asked of any window."""
    written = Modes.of(word.value)
    assert (written.in_force(NOON, {}), written.highest, written.names) == (word, word, frozenset())


def test_a_window_that_is_gone_makes_it_a_dry_run() -> None:
    """What stands behind it may have been meant for other times only: it fails closed."""
    written = modes({"during": "gone", "mode": "off"}, {"during": "night", "mode": "auto"}, {"mode": "auto"})
    assert written.in_force(MIDNIGHT, NIGHT) is Mode.DRY_RUN


def test_an_entry_that_is_never_reached_counts_for_nothing() -> None:
    """Behind one without a window no entry has its turn, so it can't raise the mode; its window is still asked for."""
    written = modes({"mode": "dry-run"}, {"during": "night", "mode": "auto"})
    assert written.highest is Mode.DRY_RUN
    assert written.in_force(MIDNIGHT, NIGHT) is Mode.DRY_RUN
    assert written.names == {"night"}


def test_a_word_that_is_no_mode_is_refused() -> None:
    """The forms refuse it before; who comes past them is told at once."""
    with pytest.raises(ValueError, match="sometimes"):
        Modes.of("sometimes")
    with pytest.raises(ValueError, match="sometimes"):
        Modes.of([SimpleNamespace(during=None, mode="sometimes")])


@given(
    st.lists(st.tuples(st.sampled_from([None, "night", "freeze", "gone"]), st.sampled_from(Mode))),
    st.sampled_from([NOON, MIDNIGHT, FROZEN]),
)
def test_no_mode_in_force_is_higher_than_the_highest(entries: list[tuple[str | None, Mode]], instant: float) -> None:
    """Whatever the windows are, and whether they are there or not."""
    written = Modes(tuple(entries))
    assert written.in_force(instant, NIGHT).rank <= written.highest.rank
