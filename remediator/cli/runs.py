"""The commands about runs: runs, show, cancel, resolve."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import output
from remediator.cli.client import author
from remediator.cli.command import FAULT, Asked, command
from remediator.cli.following import PATIENCE, ended, follow
from remediator.cli.story import mark, tell, tell_events
from remediator.model.run import State
from remediator.model.time import format_duration


@command("runs", daemon=True)
@click.option("--state", type=click.Choice([str(each) for each in State]), help="Only runs in this state.")
@click.option("--rule", help="Only runs of this rule.")
@click.option("--since", metavar="DURATION", help="Only runs created in this span, such as 24h.")
@click.option("--drills", is_flag=True, help="Only drills: what was drilled when.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most (default: all).")
def runs(asked: Asked, state: str | None, rule: str | None, since: str | None, drills: bool, limit: int | None) -> None:
    """List runs, newest first."""
    drill = "true" if drills else None
    found = list(asked.client.runs(limit, state=state, rule=rule, since=since, drill=drill))
    if asked.json:
        output.document(found)
        return
    rows = [
        (
            run["id"],
            run["created_at"],
            run["state"],
            run["reason"],
            f"{run['rule']} ({mark(run)})" if mark(run) else run["rule"],
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
    tell(found)
    tell_events(events)


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
    run = follow(asked.client, run_id, PATIENCE, ended)
    if asked.json:
        output.document(run)
    else:
        click.echo(f"Run {run_id}: {output.state(run['state'])}")
    return 0 if ended(run) else FAULT
