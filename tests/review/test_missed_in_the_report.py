"""The report tells of the times of schedules at which nothing was begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from stage import Stage, stage_in

from remediator.review.morning import read_report
from remediator.review.summing import Material, report_of
from remediator.review.wording import as_markdown, as_text

CLOCK = """
rules:
  - name: tidy
    summary: Tidy up by the clock.
    schedule: '30 4 * * *'
    target: disk
    steps: [{uses: test.write}]
"""
DAY = 86_400.0
FROM, TO = "2026-11-19T04:30:00.000000Z", "2026-11-23T04:30:00.000000Z"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A started stage without rules."""
    async with stage_in(tmp_path) as started:
        yield started


def missed(because: str, times: int = 1, first: str = FROM, last: str = FROM) -> dict[str, Any]:
    return {"rule": "tidy", "times": times, "first": first, "last": last, "because": because}


async def test_an_outage_is_in_the_report_after_it_and_not_in_a_later_one(stage: Stage) -> None:
    """In all three forms: as text, as Markdown and as JSON."""
    await stage.rules(CLOCK)
    rules = stage.engine.desk.rules
    await stage.stop()
    stage.clock.time += 5 * DAY
    stage.clock.parked.clear()
    await stage.start()
    await stage.engine.adopt(rules, stage.standing, {})
    await stage.settle()
    now = stage.clock.now()
    report = await read_report(stage.engine, now - DAY, now)
    for text in (as_text(report), as_markdown(report)):
        assert "Missed times of schedules" in text
        assert "tidy: did not begin 5 times, 2026-11-" in text
        assert "because no daemon looked then" in text
    (entry,) = msgspec.to_builtins(report)["missed"]["entries"]
    assert (entry["rule"], entry["times"]) == ("tidy", 5)
    later = await read_report(stage.engine, now + 1, now + DAY)
    assert later.missed.entries == ()
    assert "Missed" not in as_text(later)


def test_times_missed_for_one_reason_are_one_entry() -> None:
    """Whichever run was open each time; another reason is another entry, the newest first."""
    told = [
        missed("no daemon looked then", 5, FROM, TO),
        missed("run 01A of tidy on disk is open already", first=FROM, last=FROM),
        missed("run 01B of tidy on disk is open already", first=TO, last=TO),
    ]
    first, second = report_of(Material([], missed=told), 0.0, 1.0).missed.entries
    assert (first.times, first.first_at, first.last_at) == (2, FROM, TO)
    assert first.because == "run 01B of tidy on disk is open already"
    assert (second.times, second.because) == (5, "no daemon looked then")


def test_of_a_confidential_rule_no_reason_is_told() -> None:
    """It may name the target."""
    told = [missed("run 01A of tidy on payroll is open already")]
    report = report_of(Material([], confidential=frozenset({"tidy"}), missed=told), 0.0, 1.0)
    assert report.missed.entries[0].because is None
    assert "payroll" not in as_text(report) + as_markdown(report)
