"""Verify: did it help? Pure judgement of polled checks; no data is never success."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from remediator.model.run import Reason, Run, Step, StepState
from remediator.model.time import Timestamp, format_duration
from remediator.rules.rule import Verify


class Judgement(StrEnum):
    """What one poll of all checks came to."""

    HOLDS = "holds"
    FALSE = "false"
    UNREADABLE = "unreadable"


def judge(checks: Sequence[Step], resolved: bool | None, *, unheard: bool = False) -> Judgement:
    """Judge one poll. `resolved` is None where the rule doesn't ask for it. A false check outweighs an unreadable one.

    `unheard` says that alerts are no longer firing only because nothing was heard of them: that proves nothing.
    """
    if resolved is False or any(check.state is StepState.FAILED and check.refuted for check in checks):
        return Judgement.FALSE
    proven = resolved is True or any(check.state is StepState.SUCCEEDED for check in checks)
    if not proven or unheard or any(check.state not in (StepState.SUCCEEDED, StepState.SKIPPED) for check in checks):
        return Judgement.UNREADABLE
    return Judgement.HOLDS


def doubts(checks: Sequence[Step], resolved: bool | None) -> str:
    """Say what does not hold, for people."""
    words = ["its alerts have not resolved"] if resolved is False else []
    words += [f"{check.id or check.uses}: {check.error}" for check in checks if check.state is StepState.FAILED]
    if not checks and resolved is None:
        return "there is nothing to look at: no alert began the run, so none can have resolved"
    return "; ".join(words) or "it has not held for long enough"


def passed(verify: Verify, run: Run, now: Timestamp) -> bool:
    """Tell whether everything has held without a break for `stable_for`."""
    return run.good_since is not None and now - run.good_since >= verify.stable_for


def verdict(verify: Verify, run: Run, last: Judgement, now: Timestamp) -> tuple[Reason, str] | None:
    """Give the reason for failure once `within` is over, and None before."""
    if run.verify_since is None or now - run.verify_since < verify.within:
        return None
    span = format_duration(verify.within)
    if last is Judgement.UNREADABLE:
        return Reason.INCONCLUSIVE, f"within {span} a check could not be read"
    return Reason.VERIFY, f"not within {span}"
