"""How runs, alerts, rules and controls look as JSON: names are a contract (`interfaces.md`, "A run")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remediator.model.alert import Episode
from remediator.model.run import Control, Phase, Step
from remediator.model.story import Story
from remediator.model.time import Timestamp, format_rfc3339
from remediator.rules.rule import Rule
from remediator.store.protocol import StoredEvent

_ORDER = {phase: number for number, phase in enumerate(Phase)}


def instant(at: Timestamp | None) -> str | None:
    """Give an instant as RFC 3339, or null."""
    return None if at is None else format_rfc3339(at)


def run_shape(story: Story, alerts: Sequence[Episode]) -> dict[str, Any]:
    """Give a run."""
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
        "healed_after": None if run.healed_at is None else run.healed_at - run.created_at,  # seconds
        "rung": run.rung,
        "drill": run.drill,
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


def rule_shape(rule: Rule) -> dict[str, Any]:
    """Give one rule in force."""
    return {
        "name": rule.name,
        "hash": rule.hash,
        "summary": rule.summary,
        "mode": rule.modes.highest,
        "match": [str(matcher) for matcher in rule.match],
        "file": rule.file,
        "line": rule.line,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "writes": rule.writes,
    }


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
