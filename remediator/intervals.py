"""Time intervals and time zones as people write them; `remediator.rules.windows` tells at which instants they hold.

The form is Alertmanager's `time_intervals`, so that one can be copied from there. What differs: a time range may cross
midnight; `location` is a name of the IANA database only; a month and a year must be ones that can come; a day range is
refused if it is empty in every month (Alertmanager also refuses `28:-1`); an empty list, and an interval that leaves
everything open, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import Annotated, NamedTuple, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic import model_validator as check_whole

from remediator.document import nearest
from remediator.forms import Form, wrong_type

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")  # a week as Alertmanager's
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
DAY = 24 * 60  # minutes

_ZONE = "^[A-Z][A-Za-z0-9_+-]*(/[A-Z][A-Za-z0-9_+-]*)*$"  # all of IANA's; not `localtime`, nor files beside the zones


def zone_of(name: str) -> tzinfo:
    """Find a time zone by its IANA name, such as Europe/Berlin. Raises ValueError with a sentence for the author.

    Read from the machine's database, else from the package `tzdata`; UTC needs neither.
    """
    if name == "UTC":
        return UTC
    if name.lower() in {"local", "localtime"}:
        raise ValueError(
            f"`{name}` would mean another time on every machine: write the zone's name, as in Europe/Berlin, or UTC"
        )
    try:
        return ZoneInfo(name if re.fullmatch(_ZONE, name) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, or a name too long
        known = available_timezones()
    if not known:
        raise ValueError(
            f"`{name[:40]}` can't be looked up, there is no time zone database here: install the package tzdata"
        )
    near = nearest(name, known) or ": write a name of the IANA database, as in Europe/Berlin, or UTC"
    raise ValueError(f"`{name[:40]}` is not a time zone{near}")


class Range(NamedTuple):
    """From the first to the last, both included."""

    first: int
    last: int

    def holds(self, value: int) -> bool:
        """Tell whether a value is in the range."""
        return self.first <= value <= self.last


def _range(value: object, read: Callable[[str], int], noun: str) -> Range:
    if type(value) is int:
        value = str(value)  # YAML reads a single day or year as a number
    if not isinstance(value, str):
        raise wrong_type(noun)
    first, colon, last = value.lower().partition(":")
    return Range(read(first), read(last if colon else first))


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise ValueError(f"`{text[:40]}` is not a weekday{nearest(text, WEEKDAYS) or ': write it as in monday'}")
    return WEEKDAYS.index(text)


def _weekdays(value: object) -> Range:
    found = _range(value, _weekday, "a weekday such as monday, or monday:friday")
    if found.first > found.last:
        first, last = WEEKDAYS[found.first], WEEKDAYS[found.last]
        raise ValueError(
            f"{first} comes after {last}, as a week runs from sunday to saturday: write two entries, "
            f"{_written(first, 'saturday')} and {_written('sunday', last)}"
        )
    return found


def _day(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,2}", text, re.ASCII) or not 1 <= abs(int(text)) <= 31:
        raise ValueError(f"`{text[:40]}` is not a day of the month: write 1 to 31, or -1 for the last day to -31")
    return int(text)


def _days(value: object) -> Range:
    found = _range(value, _day, "a day of the month such as 1, 1:5 or -3:-1")
    if found.first < 0 < found.last:
        raise ValueError(
            f"`{found.first}:{found.last}` would run into the next month: write two entries, "
            f"{_written(str(found.first), '-1')} and {_written('1', str(found.last))}"
        )
    if not any(days_in(found, length) for length in range(28, 32)):
        raise ValueError(f"day {found.last} comes before day {found.first} in every month")
    return found


def days_in(written: Range, length: int) -> range:
    """Give the days that a range means in a month of that length, or past it; negative ones count from its end."""
    first, last = (day if day > 0 else length + 1 + day for day in written)
    return range(first, last + 1)


def _month(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,2}", text, re.ASCII) and 1 <= int(text) <= 12:
        return int(text)
    if text not in MONTHS:
        raise ValueError(f"`{text[:40]}` is not a month{nearest(text, MONTHS) or ': write january, or 1 to 12'}")
    return MONTHS.index(text) + 1


def _months(value: object) -> Range:
    found = _range(value, _month, "a month such as january, 1, or january:march")
    if found.first > found.last:
        first, last = MONTHS[found.first - 1], MONTHS[found.last - 1]
        raise ValueError(
            f"{first} comes after {last} in a year: write two entries, "
            f"{_written(first, 'december')} and {_written('january', last)}"
        )
    return found


def _year(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{3}", text, re.ASCII):
        raise ValueError(f"`{text[:40]}` is not a year: write it as in 2027")
    return int(text)


def _years(value: object) -> Range:
    found = _range(value, _year, "a year such as 2027, or 2027:2028")
    if found.first > found.last:
        raise ValueError(f"{found.first} comes after {found.last}: write the earlier year first")
    return found


def _written(first: str, last: str) -> str:
    return f"`{first}`" if first == last else f"`{first}:{last}`"


_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"


def _minute(value: object) -> int:
    if not isinstance(value, str):
        raise wrong_type("a time such as '22:00'")
    if value == "24:00":
        return DAY
    if not re.fullmatch(_TIME, value, re.ASCII):
        raise ValueError(f"`{value[:40]}` is not a time: write hours and minutes, as in 07:00, up to 24:00")
    return int(value[:2]) * 60 + int(value[3:])


_Item = TypeVar("_Item")


def _something(items: list[_Item]) -> list[_Item]:
    if not items:
        raise ValueError("this list is empty, so the interval would never hold: leave the key out if any will do")
    return items


def _zone(name: str) -> str:
    zone_of(name)
    return name


def _one_or_range(words: str) -> str:
    return f"^({words})(:({words}))?$"


def _any_case(words: Sequence[str]) -> str:
    return "|".join(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in words)


_MinuteOfDay: TypeAlias = Annotated[
    int, PlainValidator(_minute), WithJsonSchema({"type": "string", "pattern": f"^({_TIME}|24:00)$"})
]
_Weekdays: TypeAlias = Annotated[
    Range,
    PlainValidator(_weekdays),
    WithJsonSchema(
        {"anyOf": [{"enum": list(WEEKDAYS)}, {"type": "string", "pattern": _one_or_range(_any_case(WEEKDAYS))}]}
    ),
]
_Days: TypeAlias = Annotated[
    Range,
    PlainValidator(_days),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": _one_or_range("-?[0-9]{1,2}"), "minimum": -31, "maximum": 31}
    ),
]
_Months: TypeAlias = Annotated[
    Range,
    PlainValidator(_months),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(MONTHS)},
                {"type": "integer", "minimum": 1, "maximum": 12},
                {"type": "string", "pattern": _one_or_range(f"[0-9]{{1,2}}|{_any_case(MONTHS)}")},
            ]
        }
    ),
]
_Years: TypeAlias = Annotated[
    Range,
    PlainValidator(_years),
    WithJsonSchema({"type": ["string", "integer"], "pattern": _one_or_range("[1-9][0-9]{3}"), "minimum": 1000}),
]
_Something: TypeAlias = Annotated[list[_Item], AfterValidator(_something), Field(json_schema_extra={"minItems": 1})]
ZoneName: TypeAlias = Annotated[
    str,
    AfterValidator(_zone),
    WithJsonSchema({"type": "string", "pattern": _ZONE, "examples": ["Europe/Berlin", "America/New_York", "UTC"]}),
]


class TimeRangeForm(Form):
    """A stretch of the day, on the wall clock; one that ends before it starts goes on past midnight."""

    model_config = ConfigDict(title="time range")

    start_time: _MinuteOfDay = Field(description="The first minute, as in `22:00`.")
    end_time: _MinuteOfDay = Field(
        description="The minute that is no longer part; `24:00` is the end of the day. Before `start_time`: of the next day."
    )

    @check_whole(mode="after")
    def _is_a_stretch(self) -> TimeRangeForm:
        if self.start_time == DAY:
            raise ValueError("nothing can start at 24:00: write 00:00")
        if self.start_time == self.end_time:
            raise ValueError("this starts and ends at the same time: for a whole day, write 00:00 to 24:00")
        return self


class IntervalForm(Form):
    """When an interval holds: all keys that are given must, and of each list any entry.

    A time range that goes on past midnight belongs to the day on which it began: `friday`, 22:00 to 07:00, ends on
    Saturday at 07:00, and so for days, months and years.
    """

    model_config = ConfigDict(title="time interval")

    times: _Something[TimeRangeForm] | None = Field(None, description="Times of the day, on the wall clock.")
    weekdays: _Something[_Weekdays] | None = Field(None, description="Days from sunday to saturday: `monday:friday`.")
    days_of_month: _Something[_Days] | None = Field(None, description="`1`, `1:5`; from the end: `-3:-1`.")
    months: _Something[_Months] | None = Field(None, description="`december`, `january:march` or `1:3`.")
    years: _Something[_Years] | None = Field(None, description="`2027`, `2027:2028`.")
    location: ZoneName = Field("UTC", description="The time zone whose wall clock is meant, by its IANA name.")

    @check_whole(mode="after")
    def _restricts_something(self) -> IntervalForm:
        if not self.model_fields_set - {"location"}:
            raise ValueError(
                "this holds at any time: give `times`, `weekdays`, `days_of_month`, `months` or `years`; "
                "00:00 to 24:00 says it on purpose"
            )
        return self
