"""Times of a schedule that went by while nobody looked: all are recorded, and the newest is begun if it is not too late."""

from __future__ import annotations

from typing import Any

import pytest
from stage import START, Stage

from remediator.model.run import Mode
from remediator.model.time import format_rfc3339
from remediator.rules.cron import Schedule

CLOCK = """
rules:
  - name: tidy
    summary: Tidy up by the clock.
    schedule: 'CRON'
    target: disk
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: tidy}}]
"""
MINUTE, DAY = 60.0, 86_400.0


def next_time(cron: str, after: float = START) -> float:
    at = Schedule.of(cron).next_after(after)
    assert at is not None
    return at


async def sleeps_until(stage: Stage, at: float, **standing: Any) -> None:
    """Nothing runs until then; then it starts, over the same store and rules."""
    rules = stage.engine.desk.rules
    await stage.stop()
    stage.clock.time = at
    stage.clock.parked.clear()
    await stage.start()
    await stage.engine.adopt(rules, stage.standing, standing)
    await stage.settle()


async def missed(stage: Stage) -> list[dict[str, Any]]:
    events = await stage.store.view(lambda tx: tx.events(0, 10_000))
    return [dict(event.data) for event in events if event.kind == "schedule.missed"]


def told(times: int, first: float, last: float, because: str = "no daemon looked then") -> dict[str, Any]:
    at = {"first": format_rfc3339(first), "last": format_rfc3339(last)}
    return {"rule": "tidy", "times": times, **at, "because": because}


async def test_the_newest_time_is_begun_though_older_ones_were_missed(stage: Stage) -> None:
    """It is 27 s late, and cron's grace is a minute; the older one is recorded."""
    await stage.rules(CLOCK.replace("CRON", "* * * * *"))
    first = next_time("* * * * *")
    await sleeps_until(stage, first + MINUTE + 27)
    assert stage.used("test.write") == 1
    assert await missed(stage) == [told(1, first, first)]
    await stage.passes(33)
    assert stage.used("test.write") == 2


async def test_a_time_just_within_the_grace_is_begun_and_one_beyond_it_is_missed(stage: Stage) -> None:
    """To the second."""
    await stage.rules(CLOCK.replace("CRON", "0 * * * *"))
    first = next_time("0 * * * *")
    await sleeps_until(stage, first + 60)
    assert (stage.used("test.write"), await missed(stage)) == (1, [])
    second = next_time("0 * * * *", first)
    await sleeps_until(stage, second + 60.5)
    assert (stage.used("test.write"), await missed(stage)) == (1, [told(1, second, second)])


@pytest.mark.fault("a missed schedule")
async def test_every_day_of_an_outage_is_recorded_and_none_is_caught_up_with(stage: Stage) -> None:
    """As one event, which tells the first, the last and how many."""
    await stage.rules(CLOCK.replace("CRON", "30 4 * * *"))
    first = next_time("30 4 * * *")
    await sleeps_until(stage, first + 4 * DAY + 3600)
    assert stage.calls == []
    assert await missed(stage) == [told(5, first, first + 4 * DAY)]


@pytest.mark.fault("a missed schedule")
async def test_a_month_of_minutes_is_a_handful_of_events_that_miss_none(stage: Stage) -> None:
    """Each begins where the one before ended; the newest time is begun all the same."""
    await stage.rules(CLOCK.replace("CRON", "* * * * *"))
    first, minutes = next_time("* * * * *"), 30 * 24 * 60
    await sleeps_until(stage, first + minutes * MINUTE + 5)
    records = await missed(stage)
    assert len(records) <= 5
    assert sum(each["times"] for each in records) == minutes
    assert records[0]["first"] == format_rfc3339(first)
    assert records[-1]["last"] == format_rfc3339(first + (minutes - 1) * MINUTE)
    assert stage.used("test.write") == 1


@pytest.mark.parametrize("late", [7 * DAY + 5, 7 * DAY + 60, 7 * DAY + 65])
@pytest.mark.fault("suspend and resume")
async def test_the_newest_time_is_begun_once_wherever_a_record_ends(stage: Stage, late: float) -> None:
    """A week is counted in one transaction: what is left for the next one is neither lost nor begun twice."""
    await stage.rules(CLOCK.replace("CRON", "* * * * *"))
    first = next_time("* * * * *")
    await sleeps_until(stage, first + late)
    assert stage.used("test.write") == 1
    assert sum(each["times"] for each in await missed(stage)) == late // MINUTE


async def test_what_was_missed_is_recorded_once_over_crashes(stage: Stage) -> None:
    """The record, the run and the next time are kept together."""
    await stage.rules(CLOCK.replace("CRON", "* * * * *"))
    await sleeps_until(stage, next_time("* * * * *") + 10 * MINUTE + 5)
    before = await missed(stage)
    await stage.crash()
    await stage.crash()
    assert (await missed(stage), stage.used("test.write")) == (before, 1)


async def test_a_newest_time_that_may_not_begin_is_recorded_with_its_own_reason(stage: Stage) -> None:
    """The older ones were missed, and this one was not proposed."""
    await stage.rules(CLOCK.replace("CRON", "* * * * *"), mode=Mode.OFF)
    first = next_time("* * * * *")
    await sleeps_until(stage, first + 2 * MINUTE + 5)
    last = first + 2 * MINUTE
    assert await missed(stage) == [
        told(2, first, first + MINUTE),
        told(1, last, last, "the mode in force for tidy is off"),
    ]


async def test_a_schedule_that_was_edited_while_nobody_looked_has_missed_the_time_it_had(stage: Stage) -> None:
    """It is recorded, begins nothing however late it is, and the new text holds from now on."""
    await stage.rules(CLOCK.replace("CRON", "0 * * * *"))
    first = next_time("0 * * * *")
    await stage.stop()
    stage.clock.time = first + 20
    stage.clock.parked.clear()
    await stage.start()
    await stage.rules(CLOCK.replace("CRON", "30 * * * *"))
    because = "no daemon looked then, and its schedule has been edited since"
    assert (stage.used("test.write"), await missed(stage)) == (0, [told(1, first, first, because)])
    await stage.passes(next_time("30 * * * *", first) - stage.clock.time)
    assert stage.used("test.write") == 1


async def test_a_schedule_that_is_edited_before_its_time_has_missed_nothing(stage: Stage) -> None:
    """The time that it would have had is no time of its any more."""
    await stage.rules(CLOCK.replace("CRON", "0 * * * *"))
    await stage.rules(CLOCK.replace("CRON", "30 * * * *"))
    await stage.passes(2 * 3600)
    assert await missed(stage) == []
