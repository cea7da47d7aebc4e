"""The commands by which a person answers a run that asks: approve, reject."""

from __future__ import annotations

import sys
from typing import Any

import click

from remediator.cli import output
from remediator.cli.command import FAULT, USAGE, Asked, command
from remediator.cli.following import PATIENCE, ended, follow
from remediator.cli.story import tell
from remediator.model.run import Reason, State


@command("approve", daemon=True)
@click.argument("run")
@click.option("--yes", is_flag=True, help="Approve the plan as it is now, without being asked.")
@click.option("--plan-hash", metavar="HASH", help="Approve this very plan, and no other.")
@click.option("--reason", default="", help="For the record.")
def approve(asked: Asked, run: str, yes: bool, plan_hash: str | None, reason: str) -> int:
    """Let a run that asks carry out the plan that is shown. In whose name, your token says."""
    client = asked.client
    run_id = client.one(run)
    shown = client.ask("GET", f"/runs/{run_id}")
    if not asked.json:
        tell(shown)
    if shown["confidential"]:
        return asked.say(f"run {run_id} is confidential, and your token is not an operator's", FAULT)
    if not _asks(shown):
        return asked.say(f"run {run_id} asks nobody: it is {shown['state']}", FAULT)
    if plan_hash is None and not yes:
        if asked.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return asked.say(
                "nobody is here to be asked: give --plan-hash with the plan that you have looked at, or --yes for the one "
                "that it has now",
                USAGE,
            )
        if not click.confirm("\nApprove this plan?"):
            return asked.say("not approved; `remediator reject` says no for good", FAULT)
    body = {"plan_hash": plan_hash or shown["plan_hash"], "reason": reason}
    approved = client.ask("POST", f"/runs/{run_id}/approve", body)
    if _asks(approved) and _given(approved) < approved["approval"]["quorum"]:
        return _end(asked, approved, f"Approved: {_given(approved)} of {approved['approval']['quorum']}", 0)
    asked_at = shown["approval"]["asked_at"]
    # In between it waits while everything is read again: only then is it known whether it goes on, or asks again.
    run_now = follow(
        client,
        run_id,
        PATIENCE,
        lambda run: (
            _held(run) or run["approval"]["asked_at"] != asked_at if _asks(run) else run["state"] != State.WAITING
        ),
    )
    if _asks(run_now) and run_now["approval"]["asked_at"] == asked_at:
        why = (
            f"it is held, and looked at again after that ({run_now['because']})"
            if _held(run_now)
            else "it waits its turn"
        )
        return _end(asked, run_now, f"Approved, and not begun: {why}", 0)
    if _asks(run_now):
        words = (
            "Approved, but what it has read since makes another plan: it asks again, look at it with `remediator show`"
        )
        return _end(asked, run_now, words, FAULT)
    return _end(asked, run_now, "Approved", 0)


def _asks(run: dict[str, Any]) -> bool:
    return run["approval"] is not None


def _held(run: dict[str, Any]) -> bool:
    return bool(run["reason"] == Reason.PAUSED)


def _given(run: dict[str, Any]) -> int:
    return len(run["approval"]["given"])


@command("reject", daemon=True)
@click.argument("run")
@click.option("--reason", required=True, help="For whoever reads of it.")
def reject(asked: Asked, run: str, reason: str) -> int:
    """Say no to what a run asks for: it ends. In whose name, your token says."""
    client = asked.client
    run_id = client.one(run)
    client.ask("POST", f"/runs/{run_id}/reject", {"reason": reason})
    return _end(asked, follow(client, run_id, PATIENCE, lambda run: ended(run) or not _asks(run)), "Rejected", 0)


def _end(asked: Asked, run: dict[str, Any], words: str, status: int) -> int:
    if asked.json:
        output.document(run)
    else:
        click.echo(f"{words}. Run {run['id']}: {output.state(run['state'])}")
    return status
