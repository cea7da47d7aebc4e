"""What templates and expressions see: one mapping, made of a run and what is known of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from remediator.execute import results
from remediator.model.alert import Episode
from remediator.model.run import Origin, Phase, Priority, Run, StepState
from remediator.model.story import Story
from remediator.model.time import format_rfc3339
from remediator.rules.form import PRIORITIES
from remediator.rules.load import merge
from remediator.rules.pieces import shown
from remediator.rules.rule import Rule
from remediator.rules.templates import Pending, TemplateError

_FACTS = frozenset({Phase.FACTS})
_DONE = frozenset(Phase) - {Phase.FACTS, Phase.VERIFY}
_ON_A_RUNG = frozenset({Phase.FACTS, Phase.STEPS, Phase.VERIFY})


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
    own = {"notice": run.given} if run.origin is Origin.NOTICE else {}
    opened = alert_scope(alert)
    return {
        **own,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "alert": opened,
        "group": {
            "labels": alert.group_labels,
            "key": alert.group_key,
            "truncated": max(each.truncated for each in (alert, *alerts)),
        },
        "alerts": [opened if each is alert else alert_scope(each) for each in alerts],
        "target": run.target,
        "rule": {
            "name": rule.name,
            "summary": rule.summary,
            "owner": rule.owner,
            "runbook": rule.runbook,
            "labels": rule.labels,
        },
        "run": {"id": run.id, "rung": run.rung, "url": f"{public_url}/runs/{run.id}"},
        "vars": merge(rule.vars, rule.vars.get("drill", {})) if run.drill else rule.vars,
    }


def priority_of(rule: Rule, scope: Mapping[str, Any]) -> Priority:
    """Give a run's priority. Raises TemplateError and UnsafeValue: such a run is refused when it is admitted."""
    if rule.priority is None:
        return Priority.P2
    word = str(rule.priority.render(scope))
    if word not in PRIORITIES:
        raise TemplateError(f"priority is {shown(word)}: it has to be one of {', '.join(PRIORITIES)}")
    return Priority(word)


def with_results(base: Mapping[str, Any], story: Story, rule: Rule, *, planning: bool = False) -> dict[str, Any]:
    """Add `facts` and `steps`; while planning, whatever no step has told yet stands as a `Pending`.

    Of a ladder, its steps see those of their own rung alone, as a run may have begun on any; what follows sees the last.
    """
    rung = story.run.rung
    facts = {name: entry.get("result") for name, entry in results(story.steps, _FACTS, rule.loops).items()}
    steps = [step for step in story.steps if step.rung == rung]
    if story.run.phase not in _ON_A_RUNG:
        newest = {step.id: step.rung for step in sorted(story.steps, key=lambda step: step.rung)}
        steps = [step for step in story.steps if step.rung == newest[step.id]]
    done = results(steps, _DONE, rule.loops)
    for step in steps:
        if step.state is StepState.PLANNED and step.id is not None:
            done[step.id] = Pending(step.id)
    if planning:
        for each in rule.rungs[rung].steps if rung < len(rule.rungs) else ():
            if each.id is not None:
                done.setdefault(each.id, Pending(each.id))
        for each in rule.facts:
            if each.id is not None:
                facts.setdefault(each.id, Pending(f"facts.{each.id}"))
    return {**base, "facts": facts, "steps": done}
