"""Breaking: too many failures in a span open a breaker, in the transaction in which the last of them ends.

An open breaker is a control: it stands in the list of what is laid, survives restarts, and a person lifts it, or its span.
"""

from __future__ import annotations

from remediator.engine.laying import lay
from remediator.engine.noticing import Notice
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Book, Origin, Run
from remediator.model.time import Timestamp, format_duration
from remediator.rules.rule import Breaker, Rule
from remediator.rules.standing import Standing
from remediator.store.protocol import Transaction

DAEMON = "remediator"  # the author of what the daemon lays by itself


async def open_breakers(
    tx: Transaction, before: Run, after: Run, rule: Rule, standing: Standing, now: Timestamp
) -> list[Notice]:
    """Open the rule's breaker, and the daemon's, where the run that has just failed was one too many."""
    if after.failed_at is None or before.failed_at is not None or after.origin in {Origin.REVERT, Origin.NOTICE}:
        return []  # as these count for none
    opened = []
    for breaker, of in ((rule.guards.breaker, rule.name), (standing.breaker, None)):
        if breaker is not None:
            control = await _open(tx, breaker, of, after, now)
            if control is not None:
                opened.append(control)
    return [
        Notice("breaker", _told(control), after, rule.confidential) for control in opened if control.book is Book.LIVE
    ]


def _told(control: Control) -> str:
    closing = f"`remediator resume --control {control.id} --reason …`"
    return f"{control.reason}: the breaker is open, look, then close it with {closing}"


async def _open(tx: Transaction, breaker: Breaker, of: str | None, run: Run, now: Timestamp) -> Control | None:
    laid = await tx.controls(now)
    if any(each.kind is ControlKind.BREAKER and each.rule == of and each.book is run.book for each in laid):
        return None
    closed = await tx.last_lifted(ControlKind.BREAKER, of, run.book)
    since = now - breaker.per if closed is None else max(now - breaker.per, closed)
    failures = await tx.failures(since, of, run.book)
    if failures < breaker.failures:
        return None
    runs = f"runs of {of}" if of else "runs of all rules"
    control = Control(
        id=new_id(now), kind=ControlKind.BREAKER, laid_at=now, author=DAEMON, rule=of, book=run.book,
        reason=f"{failures} {runs} ended failed or unknown within {format_duration(breaker.per)}, the last of them {run.id}",
        until=None if breaker.reset is None else now + breaker.reset,
    )  # fmt: skip
    await lay(tx, control, now)
    return control
