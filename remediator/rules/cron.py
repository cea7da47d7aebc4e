"""Schedules: when a cron line is due next. Pure: the instant is an argument.

The line means what cron means by it (cronie's `crontab(5)`), on the wall clock of a time zone:

- The hour and minute, the month and the day must match. Where day of month and day of week are both restricted, either
  is enough; a field that begins with `*` is not a restriction, `*/2` included. 0 and 7 are both Sunday.
- When daylight saving time sets the clock forward, what would have been due in the hour that is skipped is due once, at
  its end. When it sets the clock back, what is due in the hour that is repeated is due the first time only. So a job
  that runs once a day does so on these days too.
- That is for fixed times. A line whose minute or hour field begins with `*` follows the clock that is shown: `*/10 * * * *`
  comes every ten minutes, whatever the clock does.
- A change of more than three hours is no daylight saving time but another zone: what it skips is not made up for.

cronie's `~` (a random minute) is refused: it would mean another time on every replica. So is `@reboot`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import takewhile

from remediator.document import nearest
from remediator.intervals import zone_of
from remediator.model.time import Timestamp

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LARGEST_CHANGE = timedelta(hours=3)  # of the clock, as cronie draws the line: daylight saving time is two at most
_LONGEST_WAIT = 41  # years: 29 February on one weekday comes after 40 where a century has no leap year


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    words: tuple[str, ...] = ()  # that stand for the numbers from `first` on


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due by the clock."""

    text: str  # as written
    zone: tzinfo
    minutes: tuple[int, ...]  # of the day, ascending
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool  # day of month or day of week is enough; else both must match
    fixed: bool  # made up for when skipped, and not repeated; else it follows the clock that is shown

    @classmethod
    def of(cls, text: str, timezone: str | None = None) -> Schedule:
        """Read a cron line or one of its nicknames; the zone is an IANA name, UTC if None.

        Raises ValueError with a sentence for the author.
        """
        zone = zone_of("UTC" if timezone is None else timezone)
        words = _words(text)
        minutes, hours, days, months, weekdays = (
            _values(word, field) for word, field in zip(words, _FIELDS, strict=True)
        )
        starred = [word.startswith("*") for word in words]
        return cls(
            text,
            zone,
            tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
            days,
            months,
            frozenset(day % 7 for day in weekdays),
            either_day=not (starred[2] or starred[4]),
            fixed=not (starred[0] or starred[1]),
        )

    def next_after(self, at: Timestamp) -> Timestamp | None:
        """Give the first instant after this one at which it is due; None when that never comes, as on 30 February."""
        found: tuple[Timestamp, datetime] | None = None
        begin = datetime.fromtimestamp(at, self.zone).replace(tzinfo=None, second=0, microsecond=0)
        for wall in self._wall_times(begin - _LARGEST_CHANGE):  # what is repeated may be due again
            if found is not None and wall > found[1] + _LARGEST_CHANGE:
                break  # no change of the clock could make this one the earlier
            for instant in self._instants(wall):
                if instant > at and (found is None or instant < found[0]):
                    found = (instant, wall)
        return found and found[0]

    def between(self, after: Timestamp, until: Timestamp) -> Sequence[Timestamp]:
        """Give every instant after the one and not after the other at which it is due, in order: keep them near."""
        begin, end = (datetime.fromtimestamp(at, self.zone).replace(tzinfo=None) for at in (after, until))
        walls = takewhile(lambda wall: wall <= end + _LARGEST_CHANGE, self._wall_times(begin - _LARGEST_CHANGE))
        return sorted({at for wall in walls for at in self._instants(wall) if after < at <= until})

    def _wall_times(self, begin: datetime) -> Iterator[datetime]:
        """Give the times on the wall clock that match, as a calendar has them, for as long as any can be awaited."""
        for day in self._days(begin.date()):
            midnight = datetime.combine(day, time())
            first = (begin - midnight) // timedelta(minutes=1)
            for minute in self.minutes[bisect_left(self.minutes, first) :]:
                yield midnight + timedelta(minutes=minute)

    def _days(self, begin: date) -> Iterator[date]:
        day, end = begin, begin.year + _LONGEST_WAIT
        while day.year <= end:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            matches = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
            if any(matches) if self.either_day else all(matches):
                yield day
            day += timedelta(days=1)

    def _instants(self, wall: datetime) -> Iterator[Timestamp]:
        """Give the instants at which it is due for one time on the wall clock."""
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).timestamp() for fold in (0, 1))
        if first == second:
            yield first
        elif first < second:  # repeated
            yield first
            if not self.fixed:
                yield second
        elif self.fixed and first - second <= _LARGEST_CHANGE.total_seconds():
            # Skipped: `second`, which is the earlier one, is before the gap, and `first` at its end or behind it.
            around = range(int(second), int(first) + 1)
            yield float(around[bisect_left(around, wall, key=self._shown)])

    def _shown(self, instant: Timestamp) -> datetime:
        return datetime.fromtimestamp(instant, self.zone).replace(tzinfo=None)


def _words(text: str) -> Sequence[str]:
    """Split a line into its five fields."""
    words = text.split()
    if words and words[0].startswith("@"):
        nickname = " ".join(words)
        if nickname == "@reboot":
            raise ValueError("`@reboot` is no time: a schedule starts runs by the clock, not when a machine boots")
        if nickname not in _NICKNAMES:
            near = nearest(nickname, _NICKNAMES) or f" (known: {', '.join(_NICKNAMES)})"
            raise ValueError(f"`{nickname[:40]}` is not known to cron{near}")
        return _NICKNAMES[nickname].split()
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"cron has five fields (minute, hour, day of month, month, day of week), and `{text[:60]}` has {len(words)}: "
            "write it as in `30 4 * * mon-fri`"
        )
    return words


def _values(word: str, field: _Field) -> frozenset[int]:
    """Give the numbers that a field allows: a list of `*`, numbers and ranges, the latter two with a step if wanted."""
    return frozenset(value for part in word.split(",") for value in _part(part, field))


def _part(part: str, field: _Field) -> range:
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    if slash and not re.fullmatch("0*[1-9][0-9]{0,3}", step, re.ASCII):
        raise ValueError(f"`{part[:40]}` in the field {field.name}: a step is a number from 1 on, as in `*/15`")
    if span == "*":
        return range(field.first, field.last + 1, int(step or 1))
    low = _number(first, field)
    if not dash:
        if slash:
            raise ValueError(
                f"`{part[:40]}` in the field {field.name}: a step goes with `*` or a range, as in `{low}-{field.last}/{step}`"
            )
        return range(low, low + 1)
    high = _number(last, field)
    if high == 0 and field.words[:1] == ("sun",) and low > 0:
        high = 7  # `fri-sun`
    if low > high:
        raise ValueError(
            f"`{part[:40]}` in the field {field.name} ends before it begins: write it as two, "
            f"`{low}-{field.last},{field.first}-{high}`"
        )
    return range(low, high + 1, int(step or 1))


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.words:
        return field.words.index(text.lower()) + field.first
    if not re.fullmatch("[0-9]{1,4}", text, re.ASCII) or not field.first <= int(text) <= field.last:
        names = f" or {field.words[0]} to {field.words[-1]}" if field.words else ""
        near = nearest(text.lower(), field.words) or f": write {field.first} to {field.last}{names}"
        raise ValueError(f"`{text[:40]}` is no {field.name}{near}")
    return int(text)
