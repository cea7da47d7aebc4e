"""Windows: stretches of time that have a name, and the modes that hold during them. Pure: the instant is an argument.

A window is some of Alertmanager's time intervals, any of which may hold. Times are on the wall clock of an interval's
location: an hour that daylight saving time skips never comes, one that it repeats holds twice. A time range that crosses
midnight belongs to the day on which it began, so that `friday`, 22:00 to 07:00, holds on Saturday until 07:00.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Protocol

from remediator.intervals import DAY, IntervalForm, Range, days_in, zone_of
from remediator.model.run import Mode
from remediator.model.time import Timestamp

_CYCLE = 400  # years after which the calendar repeats itself
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A named stretch of time: it holds whenever any of its intervals does."""

    intervals: tuple[Interval, ...]

    @classmethod
    def of(cls, written: Sequence[IntervalForm]) -> Window:
        """Make a window of what stands under its name in the configuration."""
        return cls(tuple(Interval.of(form) for form in written))

    def holds(self, at: Timestamp) -> bool:
        """Tell whether an instant is in the window."""
        return any(interval.holds(at) for interval in self.intervals)

    def opens_after(self, now: Timestamp) -> bool:
        """Tell whether the window holds now or at any instant to come: 30 February and last year's freeze never do.

        Meant for checking a configuration: the search for one that never does takes some 50 ms at most.
        """
        return any(interval.opens_after(now) for interval in self.intervals)


@dataclass(frozen=True, slots=True)
class Interval:
    """One of Alertmanager's time intervals. Of each list any entry must hold; an empty list leaves it open."""

    zone: tzinfo
    times: tuple[tuple[int, int], ...]  # minutes of the day: start, and the end, which is not part; end first: next day
    weekdays: tuple[Range, ...]  # 0 is Sunday
    days: tuple[Range, ...]  # of the month, negative ones from its end
    months: tuple[Range, ...]
    years: tuple[Range, ...]

    @classmethod
    def of(cls, form: IntervalForm) -> Interval:
        """Make an interval of what was written."""
        return cls(
            zone_of(form.location),
            tuple((written.start_time, written.end_time) for written in form.times or ()) or ((0, DAY),),
            tuple(form.weekdays or ()),
            tuple(form.days_of_month or ()),
            tuple(form.months or ()),
            tuple(form.years or ()),
        )

    def holds(self, at: Timestamp) -> bool:
        """Tell whether an instant is in the interval."""
        wall = datetime.fromtimestamp(at, self.zone)
        today, minute = wall.date(), wall.hour * 60 + wall.minute
        for start, end in self.times:
            if minute >= start and (minute < end or end < start) and self._includes(today):
                return True
            if minute < end < start and self._includes(today - _ONE_DAY):
                return True
        return False

    def opens_after(self, now: Timestamp) -> bool:
        """Tell whether the interval holds now or at any instant to come."""
        if self.holds(now):
            return True
        today = datetime.fromtimestamp(now, self.zone).date()
        return any(self._comes(day, now) for day in self._days_from(today - _ONE_DAY))

    def _includes(self, day: date) -> bool:
        return (
            _any(self.weekdays, day.isoweekday() % 7)
            and _any(self.months, day.month)
            and _any(self.years, day.year)
            and (not self.days or any(day.day in days_in(days, _length(day.year, day.month)) for days in self.days))
        )

    def _days_from(self, first: date) -> Iterator[date]:
        """Give the days on which time ranges begin, as many as it takes to see any that there are."""
        years = (year for year in range(first.year, date.max.year) if _any(self.years, year))
        for year in islice(years, _CYCLE + 1):
            for month in range(1, 13):
                if _any(self.months, month):
                    for number in range(1, _length(year, month) + 1):
                        day = date(year, month, number)
                        if day >= first and self._includes(day):
                            yield day

    def _comes(self, day: date, now: Timestamp) -> bool:
        """Tell whether the wall clock shows, at an instant after now, any minute of the ranges that begin on a day."""
        midnight = datetime.combine(day, time(), self.zone)
        for start, end in self.times:
            for minute in range(start, end if start < end else end + DAY):
                wall = (midnight + timedelta(minutes=minute)).replace(fold=1)  # the later one, if it is repeated
                shown = wall.astimezone(UTC).astimezone(self.zone) == wall  # else it is skipped
                if shown and wall.timestamp() > now:
                    return True
        return False


def _any(ranges: tuple[Range, ...], value: int) -> bool:
    return not ranges or any(written.holds(value) for written in ranges)


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


class ModeEntry(Protocol):
    """An entry of a list of modes, as written."""

    @property
    def during(self) -> str | None:
        """The name of a window; None: at any time."""

    @property
    def mode(self) -> str:
        """The mode's word."""


@dataclass(frozen=True, slots=True)
class Modes:
    """One mode, or several of which the first whose window holds decides."""

    entries: tuple[tuple[str | None, Mode], ...]  # a window's name, or None: at any time

    @classmethod
    def of(cls, written: str | Sequence[ModeEntry]) -> Modes:
        """Make modes of one word, or of a list as written. Raises ValueError for a word that is no mode."""
        if isinstance(written, str):
            return cls(((None, Mode(written)),))
        return cls(tuple((entry.during, Mode(entry.mode)) for entry in written))

    def in_force(self, at: Timestamp, windows: Mapping[str, Window]) -> Mode:
        """Give the mode at an instant; `dry-run` when no entry holds.

        Where an entry's turn comes whose window is not there, it is `dry-run` too: the configuration has changed since
        the rule was frozen, and what the entries behind it were to be exceptions from is no longer known.
        """
        for name, mode in self.entries:
            if name is None:
                return mode
            window = windows.get(name)
            if window is None:
                break
            if window.holds(at):
                return mode
        return Mode.DRY_RUN

    @property
    def highest(self) -> Mode:
        """Give the highest mode that can ever be in force, whatever the windows are."""
        possible = []
        for name, mode in self.entries:
            possible.append(mode)
            if name is None:
                break  # what stands behind it never has its turn
            possible.append(Mode.DRY_RUN)  # the window may be gone
        return max(possible, key=lambda mode: mode.rank, default=Mode.DRY_RUN)

    @property
    def names(self) -> frozenset[str]:
        """Give the names of the windows that are asked for."""
        return frozenset(name for name, _ in self.entries if name is not None)
