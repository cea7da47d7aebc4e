"""`wait` and `log`."""

from __future__ import annotations

import pytest
import structlog
from pydantic import ValidationError

from remediator.actions.core import Log, LogParameters, Wait, WaitParameters
from remediator.actions.protocol import Result


async def test_wait_is_a_timer_that_holds_no_worker(context) -> None:
    """The engine lets the span pass; `run` is over at once."""
    params = WaitParameters.model_validate({"for": "1h30m"})
    assert Wait().timer(params) == 5400
    assert Wait().plan(params) == "wait 1h30m"
    assert (await Wait().run(params, context())).kind is Result.OK


@pytest.mark.parametrize("wrong", ["soon", "5", -1, True, None])
def test_a_span_that_is_none_is_refused(wrong: object) -> None:
    """Only Prometheus durations, and no time before now."""
    with pytest.raises(ValidationError):
        WaitParameters.model_validate({"for": wrong})


async def test_log_writes_a_line_with_the_runs_id(context) -> None:
    """The line can be found by its run."""
    with structlog.testing.capture_logs() as lines:
        outcome = await Log().run(LogParameters(message="left alone"), context())
    assert lines == [{"event": "rule_log", "message": "left alone", "run": "01jd", "log_level": "info"}]
    assert (outcome.kind, outcome.result) == (Result.OK, {"message": "left alone"})


def test_the_plan_of_a_log_is_one_line() -> None:
    """What the message holds can't leave its line."""
    assert Log().plan(LogParameters(message="a\nb")) == "log: a\\nb"
