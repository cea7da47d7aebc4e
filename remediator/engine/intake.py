"""Intake: the transaction that keeps notifications and all decisions made of them, before they are acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from remediator.engine.moves import Effect
from remediator.engine.scope import base_scope, priority_of
from remediator.engine.settle import follow, settle
from remediator.engine.storming import watch_for_storm
from remediator.execute import Call
from remediator.match import Index
from remediator.model.alert import Alert, Episode, Notification
from remediator.model.identity import new_id
from remediator.model.run import Event, EventKind, Mode, Priority, Reason, Run, State
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.receive import Tracked, track
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue
from remediator.store.protocol import Decided, Transaction, Watch

# So many new runs are begun at most in the transaction that took their alerts in: it must not hold the writer for long.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Portion:
    """A notification, or a part of the alerts of a large one."""

    notification: Notification
    alerts: Sequence[Alert]
    first: bool = True
    last: bool = True


@dataclass(slots=True)
class Taken:
    """One transaction of intake, and what came of it."""

    now: Timestamp
    begin: bool = True  # whether what has nothing to wait for may begin in this very transaction
    source: dict[int, str] = field(default_factory=dict)  # by episode: the notification that told of it
    runs: dict[str, list[str]] = field(default_factory=dict)  # by notification: runs opened or joined
    begun: list[tuple[Story, Effect]] = field(default_factory=list)  # claimed by us, a step to be called now
    stories: list[Story] = field(default_factory=list)  # all new runs
    due: bool = False  # some run has to be claimed now
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _New:
    """A run that this transaction proposes, and the alerts that it takes up, all of which fire."""

    story: Story
    rule: Rule
    alerts: list[Episode] = field(default_factory=list)

    @property
    def watch(self) -> Watch:
        return Watch(firing=len(self.alerts), first_seen=min(each.first_seen for each in self.alerts))


async def take_in(
    tx: Transaction,
    portions: Sequence[Portion],
    index: Index,
    standing: Standing,
    now: Timestamp,
    *,
    begin: bool = True,
) -> Taken:
    """Keep alerts and episodes, propose a run for every match that is new, and begin what has nothing to wait for."""
    taken = Taken(now, begin)
    tracked = Tracked()
    fingerprints = [alert.fingerprint for portion in portions for alert in portion.alerts]
    known = dict(await tx.episodes(set(fingerprints)))
    ids = iter(await tx.episode_ids(len(fingerprints)))
    for portion in portions:
        before = (len(tracked.opened), len(tracked.closed), len(tracked.firing), tracked.stale, tracked.clamped)
        track(portion.notification, portion.alerts, known, ids, tracked, now)
        for episode in tracked.firing[before[2] :]:
            taken.source.setdefault(episode.id, portion.notification.id)
        taken.events.append(_received(portion, tracked, before))
    await tx.add_notifications([portion.notification for portion in portions if portion.first])
    await tx.save_episodes(list(tracked.opened.values()), tracked.seen, tracked.closed)
    await _resolve(tx, tracked, taken, now)
    firing = {episode.id: episode for episode in tracked.firing if known[episode.fingerprint] is episode}
    pairs = [(rule, episode) for episode in firing.values() for rule in index.match(episode.labels)]
    known_before = {episode.id for _, episode in pairs} - tracked.opened.keys()
    decided = await tx.decided(known_before) if known_before else frozenset()
    fresh = [(rule, episode) for rule, episode in pairs if (episode.id, rule.name) not in decided]
    await tx.append(taken.events)
    to_come = _to_come(portions)
    if tracked.opened or to_come:
        taken.due |= await watch_for_storm(tx, standing, to_come, now, taken.events)
    if fresh:
        await take_up(tx, fresh, standing, taken)
    return taken


def _to_come(portions: Sequence[Portion]) -> Sequence[Alert]:
    """Give the alerts of large bodies of which only a first part is kept yet: a body is counted whole."""
    return [
        alert
        for portion in portions
        if portion.first and not portion.last
        for alert in portion.notification.alerts[len(portion.alerts) :]
    ]


def _received(portion: Portion, tracked: Tracked, before: tuple[int, int, int, int, int]) -> Event:
    notification = portion.notification
    data = {
        "notification": notification.id,
        "receiver": notification.receiver,
        "group_key": notification.group_key,
        "alerts": len(portion.alerts),
        "refused": [msgspec.to_builtins(each) for each in notification.refused[:20]] if portion.first else [],
        "truncated": notification.truncated,
        "opened": len(tracked.opened) - before[0],
        "closed": len(tracked.closed) - before[1],
        "stale": tracked.stale - before[3],
        "clamped": tracked.clamped - before[4],
    }
    return Event(at=notification.received_at, kind=EventKind.NOTIFICATION, run=None, data=data)


async def _resolve(tx: Transaction, tracked: Tracked, taken: Taken, now: Timestamp) -> None:
    """Wake the runs whose alerts resolved, and note which planned ones have healed by themselves."""
    if not tracked.closed:
        return
    for run in await tx.runs_of([number for number, _ in tracked.closed]):
        if run.state is not State.PLANNED:
            await tx.wake([run.id], now)
            taken.due = True
        elif (await tx.watch(run.id)).firing == 0:
            healed = replace(run, healed_at=now)
            await tx.mark_healed(healed)
            data = {"rule": run.rule, "target": run.target, "seconds": healed.healed_after}
            taken.events.append(Event(at=now, kind=EventKind.HEALED, run=run.id, data=data))


async def take_up(
    tx: Transaction,
    fresh: Sequence[tuple[Rule, Episode]],
    standing: Standing,
    taken: Taken,
    *,
    second_chance: bool = False,
) -> None:
    """Propose runs for (rule, episode) pairs that no rule has taken up: by priority, then in the order of rules.

    All are proposed before any begins, so that alerts of one target join whatever their order.
    """
    now = taken.now
    controls = await tx.controls(now)
    rules = {rule.name: rule for rule, _ in fresh}
    modes = {name: standing.mode_in_force(rule, 0, None, controls, now) for name, rule in rules.items()}
    proposals = [
        (_priority(rule, episode), rule, episode) for rule, episode in fresh if modes[rule.name] is not Mode.OFF
    ]
    proposals.sort(key=lambda each: (each[0], each[1].order, each[2].id))
    targets = [_early_target(rule, episode, standing) for _, rule, episode in proposals]
    pairs = {(rule.name, target) for (_, rule, _), target in zip(proposals, targets, strict=True) if target is not None}
    there = {(each.rule, each.target): (each.id, each.begun) for each in await tx.open_runs(pairs)} if pairs else {}
    new: dict[str, _New] = {}
    decisions: list[Decided] = []
    joins: list[Event] = []
    for (priority, rule, episode), target in zip(proposals, targets, strict=True):
        run_id, begun = (None, False) if target is None else there.get((rule.name, target), (None, False))
        taker = None if begun else run_id
        if run_id is None:
            run = Run(
                id=new_id(now), rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=now,
                opened_by=episode.id, priority=priority, target=target, mode=modes[rule.name],
                second_chance=second_chance,
            )  # fmt: skip
            run_id = taker = run.id
            new[run_id] = _New(_propose(run, rule, episode), rule)
            if target is not None:
                there[rule.name, target] = (run_id, False)
        else:
            # An alert that comes after the first step waits for the run to close, and is proposed anew then.
            data = {"rule": rule.name, "target": target, "fingerprint": episode.fingerprint, "deferred": begun}
            joins.append(Event(at=now, kind=EventKind.JOINED, run=run_id, data=data))
        if run_id in new:
            new[run_id].alerts.append(episode)
        decisions.append(Decided(episode=episode.id, rule=rule.name, run=taker, at=now, target=target))
        if episode.id in taken.source:
            taken.runs.setdefault(taken.source[episode.id], []).append(run_id)
    await tx.add_decisions(decisions)
    await tx.append(joins)
    taken.events += joins
    await _begin(tx, list(new.values()), standing, taken)


def _propose(run: Run, rule: Rule, episode: Episode) -> Story:
    reason = Reason.FOR if rule.for_ else (Reason.FACTS if rule.facts else None)
    run = replace(run, reason=reason, due_at=max(run.created_at, episode.first_seen + rule.for_))
    return Story(run=run, alert=episode).tell(
        EventKind.PROPOSED, run.created_at, rule=rule.name, rule_hash=rule.hash, target=run.target, mode=run.mode,
        priority=run.priority, fingerprint=episode.fingerprint, labels=episode.labels,
    )  # fmt: skip


async def _begin(tx: Transaction, new: Sequence[_New], standing: Standing, taken: Taken) -> None:
    """Keep new runs; the first of those that wait for nothing are settled at once: one commit between webhook and step."""
    waits_for_nothing = [each for each in new if taken.begin and not each.rule.for_ and not each.rule.facts]
    at_once = {each.story.run.id: each for each in waits_for_nothing[:_AT_ONCE]}
    later = [each.story for each in new if each.story.run.id not in at_once]
    await tx.add(later)
    taken.due = taken.due or bool(later)
    stories, refused = later, []
    for each in at_once.values():
        settled = await settle(tx, each.story.with_run(due_at=None), each.rule, standing, taken.now, each.watch)
        story, effect = settled.story, settled.effect
        if isinstance(effect, Call):
            story = story.with_run(fence=1, due_at=taken.now + standing.lease)
            await tx.add([story], standing.worker)
            taken.begun.append((story, effect))
        elif story.run.state is State.BLOCKED:
            refused.append(story)  # it has used nothing up: no decision that follows needs to see it
        else:
            await tx.add([story])
            taken.due = taken.due or story.run.due_at is not None
        taken.due |= await follow(tx, settled, standing, taken.now)
        stories.append(story)
    await tx.add(refused)
    taken.stories += stories


def _early_target(rule: Rule, episode: Episode, standing: Standing) -> str | None:
    """Name the target at once where no fact is needed for it, so that alerts join; its faults come to light later."""
    if "facts" in rule.target.names:
        return None
    probe = Run(id="", rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=0.0, opened_by=episode.id)
    try:
        scope = base_scope(probe, episode, rule, (episode,), standing.public_url)
        return str(rule.target.render(scope)).strip() or None
    except (TemplateError, UnsafeValue, PendingValue):
        return None


def _priority(rule: Rule, episode: Episode) -> Priority:
    if rule.priority is None:
        return Priority.P2
    probe = Run(id="", rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=0.0, opened_by=episode.id)
    try:
        return priority_of(rule, base_scope(probe, episode, rule, (episode,), ""))
    except (TemplateError, UnsafeValue):
        return Priority.P1  # its admission says what is wrong, and is not to come after others
