"""Noticing: what the daemon has to say for itself becomes a run of the steps under `notices`, kept and sent like any other."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from remediator.model.identity import new_id
from remediator.model.run import EventKind, Mode, Origin, Run, State
from remediator.model.story import Story, stand_in
from remediator.model.time import Timestamp
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing
from remediator.store.protocol import Transaction


class Notice(msgspec.Struct, frozen=True):
    """One thing that the daemon has to say."""

    kind: str  # one of `notices.events` in the configuration
    text: str
    run: Run | None = None  # that it is about
    confidential: bool = False  # the run's rule: rule, priority and link are all that may be told


def notices_of(story: Story, rule: Rule) -> list[Notice]:
    """Give what has to be said of what has just happened to a run."""
    run = story.run
    found: list[tuple[str, str]] = []
    if run.origin is Origin.NOTICE or run.dry:
        return []
    for event in story.events:
        if event.kind is EventKind.ASKED:
            found.append(("approval", f"{run.rule} asks whether it may act on {run.target}: {run.because}"))
        elif event.kind is EventKind.REVERT_HELD:
            found.append(("revert_held", f"the revert of {run.rule} on {run.target} is held: {run.because}"))
        elif event.kind is EventKind.MOVED and event.data["to"] is State.UNKNOWN and event.data.get("from"):
            found.append(("unknown", f"{run.rule} on {run.target}: {run.because}"))
    return [Notice(kind, text, run, rule.confidential) for kind, text in found]


async def give_notices(tx: Transaction, standing: Standing, notices: Sequence[Notice], now: Timestamp) -> bool:
    """Propose a run for each notice that the configuration wants told; tells whether there was any."""
    rule = standing.notices
    wanted = [each for each in notices if standing.wants(each.kind)]
    if rule is None or not wanted:
        return False
    for each in wanted:
        await tell_by(tx, rule, standing.public_url, each, now)
    return True


async def tell_by(tx: Transaction, rule: Rule, public_url: str, notice: Notice, now: Timestamp) -> None:
    """Propose the run that tells of a notice by the steps of a rule."""
    await tx.add([notice_story(rule, notice, public_url, now)])


def notice_story(rule: Rule, notice: Notice, public_url: str, now: Timestamp) -> Story:
    """Make the run that tells of a notice. Of a confidential rule it says no more than rule, priority and link."""
    about, run_id = notice.run, new_id(now)
    given = {
        "kind": notice.kind,
        "text": notice.text,
        "rule": "",
        "target": "",
        "run": "",
        "priority": "",
        "url": public_url,
    }
    if about is not None:
        given |= {
            "rule": about.rule, "target": about.target or "", "run": about.id, "priority": about.priority,
            "url": f"{public_url}/runs/{about.id}",
        }  # fmt: skip
        if notice.confidential:
            given |= {"target": "", "text": f"{notice.kind}: {about.rule} ({about.priority}) {given['url']}"}
    run = Run(
        id=run_id, rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=now, opened_by=None,
        origin=Origin.NOTICE, given=given, target=notice.kind, mode=Mode.AUTO, due_at=now,
    )  # fmt: skip
    return Story(run=run, alert=stand_in(run)).tell(
        EventKind.PROPOSED, now, rule=rule.name, rule_hash=rule.hash, target=run.target, mode=run.mode,
        priority=run.priority, labels=given,
    )  # fmt: skip
