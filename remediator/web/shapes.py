"""How runs, alerts, rules and controls look as JSON: names are a contract (`interfaces.md`, "A run")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from remediator.model.alert import Episode
from remediator.model.control import Control
from remediator.model.run import Phase, Run, Step
from remediator.model.story import Story
from remediator.model.time import Timestamp, format_rfc3339
from remediator.rules.rule import Approval, Rule
from remediator.rules.windows import Modes
from remediator.store.protocol import Replica, StoredEvent

_ORDER = {phase: number for number, phase in enumerate(Phase)}


def instant(at: Timestamp | None) -> str | None:
    """Give an instant as RFC 3339, or null."""
    return None if at is None else format_rfc3339(at)


def run_shape(story: Story, alerts: Sequence[Episode], approval: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give a run; with `approval` where a person is asked."""
    run = story.run
    return {
        "id": run.id,
        "rule": run.rule,
        "rule_hash": run.rule_hash,
        "target": run.target,
        "mode": run.mode,
        "state": run.state,
        "reason": run.reason,
        "because": run.because,
        "priority": run.priority,
        "alerts": [alert_shape(episode) for episode in alerts],
        "plan": None if run.plan is None else [msgspec.to_builtins(step) for step in run.plan],
        "plan_hash": run.plan_hash,
        "steps": [step_shape(step) for step in sorted(story.steps, key=_place)],
        "created_at": instant(run.created_at),
        "started_at": instant(run.started_at),
        "ended_at": instant(run.ended_at),
        "due_at": instant(run.due_at),
        "origin": run.origin,
        "reverts": run.reverts,
        "ask_until": instant(run.ask_until),
        "approval": approval,
        "healed_after": run.healed_after,  # seconds
        "rung": run.rung,
        "drill": run.drill,
        "confidential": False,  # true: what is not for the one who asks is left empty
    }


# What anyone who may look sees of a run of a confidential rule; lists are empty there, anything else is null.
_PLAIN = frozenset({"id", "rule", "priority", "state", "created_at", "started_at", "ended_at"})
_PLAIN_DATA = frozenset({"rule", "priority", "from", "to"})


def veiled_run(story: Story) -> dict[str, Any]:
    """Give a run of a confidential rule as viewers see it."""
    shape = run_shape(story, ())
    veiled = {key: value if key in _PLAIN else None for key, value in shape.items()}
    return {**veiled, "alerts": [], "steps": [], "confidential": True}


def viewed_event(event: StoredEvent, *, confidential: bool) -> dict[str, Any]:
    """Give a line of history as viewers see it: without hashes, by which what a line holds could be guessed and proved."""
    data = {key: value for key, value in event.data.items() if not confidential or key in _PLAIN_DATA}
    return {**event_shape(event), "data": data, "hash": None}


def approval_shape(run: Run, approval: Approval | None, given: Sequence[str]) -> dict[str, Any]:
    """Give what a run asks for: of whom, till when, and who has approved this plan so far.

    With None, how many and who are not known, and null.
    """
    return {
        "asked_at": instant(run.asked_at),
        "until": instant(run.ask_until),
        "quorum": approval and approval.quorum,
        "approvers": approval and list(approval.approvers),  # none: whoever may operate the daemon
        "given": list(given),
    }


def _place(step: Step) -> tuple[int, int, int, int]:
    return (step.rung, _ORDER[step.phase], step.position, step.item)


def step_shape(step: Step) -> dict[str, Any]:
    """Give one step of a run."""
    return {
        "id": step.id,
        "uses": step.uses,
        "phase": step.phase,
        "state": step.state,
        "attempt": step.attempt,
        "item": step.item,
        "rung": step.rung,
        "parameters": step.parameters,
        "started_at": instant(step.started_at),
        "ended_at": instant(step.ended_at),
        "result": step.result,
        "error": step.error,
    }


def alert_shape(episode: Episode) -> dict[str, Any]:
    """Give one alert in its episode."""
    return {
        "fingerprint": episode.fingerprint,
        "status": "firing" if episode.firing else "resolved",
        "labels": dict(episode.labels),
        "annotations": dict(episode.annotations),
        "starts_at": instant(episode.starts_at),
        "first_seen": instant(episode.first_seen),
        "ended_at": instant(episode.ended_at),
    }


def replica_shape(replica: Replica, rules: str) -> dict[str, Any]:
    """Give one daemon; `same_rules` tells whether it decides by these rules."""
    return {
        **msgspec.to_builtins(replica),
        "started_at": instant(replica.started_at),
        "seen_at": instant(replica.seen_at),
        "same_rules": replica.rules == rules,
    }


def rule_shape(rule: Rule) -> dict[str, Any]:
    """Give one rule in force."""
    return {
        "name": rule.name,
        "hash": rule.hash,
        "summary": rule.summary,
        "mode": modes_shape(rule.modes),
        "match": [str(matcher) for matcher in rule.match],
        "file": rule.file,
        "line": rule.line,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "writes": rule.writes,
        "deadline": rule.deadline,  # seconds
        "confidential": rule.confidential,
    }


def modes_shape(modes: Modes) -> str | list[dict[str, str]]:
    """Give modes as they were written: one word, or a list in which the first entry that holds decides."""
    if [name for name, _ in modes.entries] == [None]:
        return str(modes.entries[0][1])
    return [
        {"mode": str(mode)} if name is None else {"during": name, "mode": str(mode)} for name, mode in modes.entries
    ]


def control_shape(control: Control) -> dict[str, Any]:
    """Give one control."""
    return {
        **msgspec.to_builtins(control),
        "laid_at": instant(control.laid_at),
        "until": instant(control.until),
        "lifted_at": instant(control.lifted_at),
    }


def event_shape(event: StoredEvent) -> dict[str, Any]:
    """Give one line of history."""
    return {**msgspec.to_builtins(event), "at": instant(event.at)}
