"""How one run is told to people: what it is, what it would do or has done, and what happened, in sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from remediator.cli import output
from remediator.model.time import format_duration, format_rfc3339

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
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(alert["labels"].items()))
        output.line(f"  {alert['status']}  {{{labels}}}  since {alert['starts_at']}")
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
    output.line(
        f"  rule {run['rule']} ({run['rule_hash']}), target {run['target']}, mode {run['mode']}, {run['priority']}"
    )
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
    output.line(f"Asks {_whom(approval)} till {approval['until']}{given}")


def _whom(asked: dict[str, Any]) -> str:
    who = ", ".join(asked["approvers"] or ()) or "whoever may operate the daemon"
    return who if asked["quorum"] == 1 else f"{asked['quorum']} of {who}"


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
        output.line(f"  {event['at']}  {_sentence(event)}")


def _sentence(event: dict[str, Any]) -> str:
    kind = str(event["kind"])
    if event["hash"] is None and kind != "run.moved":
        return kind  # a viewer's: what it held may have been left out
    return _SENTENCES[kind](event["data"]) if kind in _SENTENCES else kind


def _moved(data: dict[str, Any]) -> str:
    return str(data["to"]) + _why(data.get("because") or data.get("reason"))


def _proposed(data: dict[str, Any]) -> str:
    rule = f"rule {data['rule']}, mode {data['mode']}"
    if data.get("reverts"):
        return f"proposed, to take back what run {data['reverts']} did: {rule}"
    if data.get("author"):
        what = "a drill" if data["drill"] else "by hand"
        why = f", for {data['given_reason']}" if data["given_reason"] else ""
        return f"proposed, {what}, by {data['author']}{why}: {rule}"
    return f"proposed by {'the schedule of ' if data.get('origin') == 'schedule' else ''}{rule}"


def _laid(data: dict[str, Any]) -> str:
    kind = {
        "approve": "approved", "reject": "rejected", "cancel": "cancel ordered", "mode": f"mode {data['mode']} laid",
        "resolve": f"resolved as {data['outcome']}", "pause": "paused", "breaker": "breaker opened", "storm": "storm seen",
    }.get(data["kind"], str(data["kind"]))  # fmt: skip
    return f"{kind} by {data['author']}" + _why(data["reason"])


def _times(data: dict[str, Any]) -> str:
    if data["times"] == 1:
        return f"at {data['last']}"
    return f"{data['times']} times from {data['first']} to {data['last']}"


def _why(words: str | None) -> str:
    return f": {words}" if words else ""


_SENTENCES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "run.proposed": _proposed,
    "run.joined": lambda data: "another alert " + ("waits for it to close" if data["deferred"] else "joined it"),
    "run.moved": _moved,
    "run.refused": lambda data: f"refused by {data['reason']}: {data['because']}",
    "run.admitted": lambda data: f"admitted, mode {data['mode']}, lock {data['lock']}",
    "run.healed": lambda data: f"healed by itself after {format_duration(data['seconds'])}",
    "run.climbed": lambda data: f"climbed to rung {data['rung'] + 1}: {data['because']}",
    "revert.held": lambda data: f"the revert of run {data['reverts']} is held: {data['because']}",
    "schedule.missed": lambda data: f"{data['rule']} did not begin {_times(data)}: {data['because']}",
    "approval.asked": lambda data: (
        f"asked {_whom(data)} till {format_rfc3339(data['until'])}, plan {data['plan_hash']}"
    ),
    "step.started": lambda data: f"{data['phase']}: {data['uses']} started, attempt {data['attempt']}",
    "step.ended": lambda data: f"{data['phase']}: {data['uses']} {data['state']}" + _why(data["error"]),
    "control.laid": _laid,
    "control.lifted": lambda data: f"{data['kind']} lifted by {data['author']}" + _why(data["reason"]),
}
