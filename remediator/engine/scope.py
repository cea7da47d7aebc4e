"""What templates and expressions see: one mapping, made of a run and what is known of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from remediator.execute import results
from remediator.model.alert import Episode
from remediator.model.run import Phase, Run, Step, StepState
from remediator.model.time import format_rfc3339
from remediator.rules.rule import Rule
from remediator.rules.templates import Pending

_FACTS = frozenset({Phase.FACTS})
_DONE = frozenset({Phase.STEPS, Phase.UNDO, Phase.ON_SUCCESS, Phase.ON_FAILURE, Phase.ON_BLOCKED})


def alert_scope(episode: Episode) -> dict[str, Any]:
    """Give one alert as an entry of `alerts`."""
    return {
        "fingerprint": episode.fingerprint,
        "status": "firing" if episode.firing else "resolved",
        "labels": episode.labels,
        "annotations": episode.annotations,
        "starts_at": format_rfc3339(episode.starts_at),
        "generator_url": episode.generator_url,
    }


def base_scope(run: Run, alert: Episode, rule: Rule, alerts: Sequence[Episode], public_url: str) -> dict[str, Any]:
    """Give all that doesn't change while a run goes on, but for facts and results of steps."""
    return {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "alert": alert_scope(alert),
        "group": {"labels": alert.group_labels, "key": alert.group_key},
        "alerts": [alert_scope(each) for each in alerts],
        "target": run.target,
        "rule": {
            "name": rule.name,
            "summary": rule.summary,
            "owner": rule.owner,
            "runbook": rule.runbook,
            "labels": rule.labels,
        },
        "run": {"id": run.id, "rung": run.rung, "url": f"{public_url}/runs/{run.id}"},
        "vars": rule.vars,
    }


def with_results(
    base: Mapping[str, Any], steps: Sequence[Step], rule: Rule, *, planning: bool = False
) -> dict[str, Any]:
    """Add `facts` and `steps`; while planning, whatever no step has told yet stands as a `Pending`."""
    facts = {name: entry.get("result") for name, entry in results(steps, _FACTS, rule.loops).items()}
    done = results(steps, _DONE, rule.loops)
    for step in steps:
        if step.state is StepState.PLANNED and step.id is not None:
            done[step.id] = Pending(step.id)
    if planning:
        for each in rule.steps:
            if each.id is not None:
                done.setdefault(each.id, Pending(each.id))
        for each in rule.facts:
            if each.id is not None:
                facts.setdefault(each.id, Pending(f"facts.{each.id}"))
    return {**base, "facts": facts, "steps": done}
