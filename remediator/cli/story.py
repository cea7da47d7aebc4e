"""How one run is told to people: what it is, what it would do or has done, and what happened, in sentences."""

from __future__ import annotations

import json
from typing import Any

import click

from remediator.cli import output
from remediator.model.time import format_duration
from remediator.review.sentences import sentence, whom
from remediator.rules.matchers import labels_text

_LINES = 10  # of a program's output, from its end
_WIDTH = 200  # of a result in one line


def mark(run: dict[str, Any]) -> str | None:
    """Say in a word or two what began a run, where that was no alert."""
    if run["drill"]:
        return "drill"
    return {"hand": "by hand", "schedule": "by schedule", "revert": "revert", "notice": "notice"}.get(run["origin"])


def tell(run: dict[str, Any]) -> None:
    """Tell what a run is, and what it would do or has done."""
    click.echo(f"Run {run['id']}: {output.state(run['state'])}" + (f" ({run['reason']})" if run["reason"] else ""))
    if run["confidential"]:
        output.line(f"  rule {run['rule']}, {run['priority']}: confidential, an operator may see the rest")
        return
    _tell_about(run)
    if run["alerts"]:
        click.echo("Alerts:")
    for alert in run["alerts"]:
        output.line(f"  {alert['status']}  {labels_text(alert['labels'])}  since {alert['starts_at']}")
    if run["approval"]:
        _tell_approval(run["approval"])
    if run["plan"]:
        click.echo(f"Plan {run['plan_hash']}:" if run["approval"] else "Plan:")
    for step in run["plan"] or ():
        output.line(f"  {step['effect']}: {step['says']}" + (f"  if {step['condition']}" if step["condition"] else ""))
    if run["steps"]:
        click.echo("Steps:")
    for step in run["steps"]:
        rung = f"rung {step['rung'] + 1} " if step["rung"] else ""
        error = f", {step['error']}" if step["error"] else ""
        output.line(f"  {rung}{step['phase']}  {step['id'] or step['uses']}: {step['state']}{error}")
        _tell_result(step["result"])


def _tell_about(run: dict[str, Any]) -> None:
    if run["because"]:
        output.line(f"  because {run['because']}")
    target = run["target"] or "not known"
    output.line(f"  rule {run['rule']} ({run['rule_hash']}), target {target}, mode {run['mode']}, {run['priority']}")
    if run["reverts"]:
        output.line(f"  takes back what run {run['reverts']} did")
    elif mark(run):
        output.line(f"  {mark(run)}")
    if run["rung"]:
        output.line(f"  on rung {run['rung'] + 1} of its ladder")
    if run["healed_after"] is not None:
        output.line(f"  healed by itself after {format_duration(run['healed_after'])}")


def _tell_approval(approval: dict[str, Any]) -> None:
    given = f"; so far {', '.join(approval['given'])}" if approval["given"] else ""
    output.line(f"Asks {whom(approval)} till {approval['until']}{given}")


def _tell_result(result: Any) -> None:
    """Show what a step said: a program's output as lines, anything else as one line of JSON."""
    if isinstance(result, dict) and "exit_status" in result:
        click.echo(f"      exit status {result['exit_status']}")
        for stream in ("stdout", "stderr"):
            for said in result[stream].splitlines()[-_LINES:]:
                output.line(f"      {stream}: {said}")
    elif result:
        text = json.dumps(result, ensure_ascii=False)
        output.line(f"      {text if len(text) <= _WIDTH else text[:_WIDTH] + '… (-o json shows all)'}")


def tell_events(events: list[dict[str, Any]]) -> None:
    """Tell what happened, a line for each."""
    click.echo("\nWhat happened:")
    for event in events:
        output.line(f"  {event['at']}  {sentence(event)}")
