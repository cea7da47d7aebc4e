"""The daemon's clock over a shared store: the database's, which is told whenever we hear of it."""

from __future__ import annotations

import time

from structlog.testing import capture_logs

from remediator.engine.clock import SystemClock


def test_a_database_whose_clock_was_set_back_makes_ours_stand_still_and_is_told_once() -> None:
    """Whoever looks for why nothing goes on finds it in the log; once it has caught up, the next time is told again."""
    clock = SystemClock()
    there = time.time()
    clock.follow(there)
    clock.follow(clock.now() - 1)
    before = clock.now()
    with capture_logs() as told:
        clock.follow(there - 600)
        clock.follow(there - 599)
        assert clock.now() == before
        clock.follow(there + 60)
        assert clock.now() >= there + 60
        clock.follow(there - 600)
    errors = [each for each in told if each["log_level"] == "error"]
    assert [each["behind"] for each in errors] == ["10m", "11m"]
    assert errors[0]["event"].startswith("the database's clock was set back: ")


def test_a_transaction_that_has_waited_for_its_turn_is_no_clock_set_back() -> None:
    """Its time was read a moment ago, and ours has gone on."""
    clock = SystemClock()
    clock.follow(time.time())
    with capture_logs() as told:
        clock.follow(clock.now() - 1)
    assert told == []
