"""The commands that speak to the running daemon: runs, show, cancel, resolve, pause, resume."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from remediator.cli import output
from remediator.cli.client import author
from remediator.cli.command import FAULT, Asked, command
from remediator.model.run import State
from remediator.model.time import format_duration

_LINES = 10  # of a program's output, from its end
_WIDTH = 200  # of a result in one line
_PATIENCE = 10.0  # seconds that a command waits to see what it asked for


@command("runs", daemon=True)
@click.option("--state", type=click.Choice([str(each) for each in State]), help="Only runs in this state.")
@click.option("--rule", help="Only runs of this rule.")
@click.option("--since", metavar="DURATION", help="Only runs created in this span, such as 24h.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most (default: all).")
def runs(asked: Asked, state: str | None, rule: str | None, since: str | None, limit: int | None) -> None:
    """List runs, newest first."""
    found = list(asked.client.runs(limit, state=state, rule=rule, since=since))
    if asked.json:
        output.document(found)
        return
    rows = [
        (
            run["id"],
            run["created_at"],
            run["state"],
            run["reason"],
            run["rule"],
            run["target"],
            run["mode"],
            _healed(run),
        )
        for run in found
    ]
    output.table(("RUN", "CREATED", "STATE", "REASON", "RULE", "TARGET", "MODE", "HEALED BY ITSELF"), rows)


def _healed(run: dict[str, Any]) -> str | None:
    return None if run["healed_after"] is None else f"after {format_duration(run['healed_after'])}"


@command("show", daemon=True)
@click.argument("run")
def show(asked: Asked, run: str) -> None:
    """Tell one run's whole story. RUN is an id, or the beginning or end of one."""
    client = asked.client
    run_id = client.one(run)
    found = client.ask("GET", f"/runs/{run_id}")
    events = client.ask("GET", "/events", query={"run": run_id, "limit": 1000})["events"]
    if asked.json:
        output.document(found)
        return
    _tell(found)
    click.echo("\nWhat happened:")
    for event in events:
        output.line(f"  {event['at']}  {_sentence(event)}")


def _tell(run: dict[str, Any]) -> None:
    click.echo(f"Run {run['id']}: {output.state(run['state'])}" + (f" ({run['reason']})" if run["reason"] else ""))
    if run["because"]:
        output.line(f"  because {run['because']}")
    output.line(
        f"  rule {run['rule']} ({run['rule_hash']}), target {run['target']}, mode {run['mode']}, {run['priority']}"
    )
    if run["healed_after"] is not None:
        output.line(f"  healed by itself after {format_duration(run['healed_after'])}")
    click.echo("Alerts:")
    for alert in run["alerts"]:
        labels = ", ".join(f'{name}="{value}"' for name, value in sorted(alert["labels"].items()))
        output.line(f"  {alert['status']}  {{{labels}}}  since {alert['starts_at']}")
    if run["plan"]:
        click.echo("Plan:")
        for step in run["plan"]:
            output.line(
                f"  {step['effect']}: {step['says']}" + (f"  if {step['condition']}" if step["condition"] else "")
            )
    if run["steps"]:
        click.echo("Steps:")
        for step in run["steps"]:
            name = step["id"] or step["uses"]
            output.line(f"  {step['phase']}  {name}: {step['state']}" + (f", {step['error']}" if step["error"] else ""))
            _tell_result(step["result"])


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


def _sentence(event: dict[str, Any]) -> str:
    data = event["data"]
    match event["kind"]:
        case "run.proposed":
            return f"proposed by rule {data['rule']}, mode {data['mode']}"
        case "run.moved":
            return str(data["to"]) + (
                f": {data['because'] or data['reason']}" if data["because"] or data["reason"] else ""
            )
        case "run.refused":
            return f"refused by {data['reason']}: {data['because']}"
        case "run.admitted":
            return f"admitted, mode {data['mode']}, lock {data['lock']}"
        case "step.started":
            return f"{data['phase']}: {data['uses']} started, attempt {data['attempt']}"
        case "step.ended":
            return f"{data['phase']}: {data['uses']} {data['state']}" + (f": {data['error']}" if data["error"] else "")
        case "control.laid":
            return f"{data['kind']} by {data['author']}: {data['reason']}"
        case _:
            return str(event["kind"])


@command("cancel", daemon=True)
@click.argument("run")
@click.option("--reason", required=True, help="For the record.")
def cancel(asked: Asked, run: str, reason: str) -> int:
    """Cancel a run; its step at work is ended."""
    client = asked.client
    run_id = client.one(run)
    client.ask("POST", f"/runs/{run_id}/cancel", {"reason": reason, "author": author()})
    return _await_end(asked, run_id)


@command("resolve", daemon=True)
@click.argument("run")
@click.option("--as", "outcome", type=click.Choice(["succeeded", "failed"]), required=True, help="What became of it.")
@click.option("--reason", required=True, help="What you saw, for the record.")
def resolve(asked: Asked, run: str, outcome: str, reason: str) -> int:
    """Settle an unknown run: you have looked at its target."""
    client = asked.client
    run_id = client.one(run)
    client.ask("POST", f"/runs/{run_id}/resolve", {"as": outcome, "reason": reason, "author": author()})
    return _await_end(asked, run_id)


def _await_end(asked: Asked, run_id: str) -> int:
    """Look until the run has ended: the daemon takes the order up at once."""
    until = time.monotonic() + _PATIENCE
    while True:
        run = asked.client.ask("GET", f"/runs/{run_id}")
        if not State(run["state"]).open or time.monotonic() > until:
            break
        time.sleep(0.1)
    if asked.json:
        output.document(run)
    else:
        click.echo(f"Run {run_id}: {output.state(run['state'])}")
    return 0 if not State(run["state"]).open else FAULT


@command("pause", daemon=True)
@click.option("--rule", help="Only this rule.")
@click.option("--target", help="Only this target.")
@click.option("--reason", required=True, help="For whoever finds it.")
@click.option("--for", "span", metavar="DURATION", help="Lifts itself after so long (default: only `resume` lifts it).")
def pause(asked: Asked, rule: str | None, target: str | None, reason: str, span: str | None) -> None:
    """Stop: no new step begins until `resume`. A step at work finishes."""
    body = {"kind": "pause", "rule": rule, "target": target, "reason": reason, "for": span, "author": author()}
    control = asked.client.ask("POST", "/controls", body)
    if asked.json:
        output.document(control)
        return
    until = f"until {control['until']}" if control["until"] else "until `remediator resume`"
    output.line(f"Paused {_what(rule, target)} {until}: {reason}")


@command("resume", daemon=True)
@click.option("--rule", help="The pause of this rule.")
@click.option("--target", help="The pause of this target.")
@click.option("--reason", default="", help="For the record.")
def resume(asked: Asked, rule: str | None, target: str | None, reason: str) -> int:
    """Lift pauses; what they held is looked at again."""
    body = {"kind": "resume", "rule": rule, "target": target, "reason": reason, "author": author()}
    lifted = asked.client.ask("POST", "/controls", body)["lifted"]
    if asked.json:
        output.document({"lifted": lifted})
    elif lifted:
        output.line(f"Resumed {_what(rule, target)}: {output.count(len(lifted), 'pause')} lifted")
    else:
        output.line(f"Nothing was paused on just {_what(rule, target)}")
    return 0 if lifted else FAULT


def _what(rule: str | None, target: str | None) -> str:
    parts = [f"rule {rule}"] if rule else []
    parts += [f"target {target}"] if target else []
    return " on ".join(parts) or "everything"
