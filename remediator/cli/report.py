"""The commands that look back: report, postmortem."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from remediator.actions.catalog import load_catalog
from remediator.cli import output
from remediator.cli.client import Client
from remediator.cli.command import FAULT, Asked, command
from remediator.review.postmortem import Incident, draft

_BEFORE, _AFTER = timedelta(hours=1), timedelta(hours=6)  # other runs so long before and after belong to the incident


@command("report", daemon=True)
@click.option("--since", metavar="DURATION", default="24h", help="How far back (default: 24h).")
@click.option("--markdown", is_flag=True, help="As Markdown, for a chat or a ticket.")
def report(asked: Asked, since: str, markdown: bool) -> None:
    """Review a night: what was done and whether it helped, what would have been done, what was refused, what waits."""
    if asked.json:
        output.document(asked.client.ask("GET", "/report", query={"since": since}))
        return
    query = {"since": since, "format": "markdown" if markdown else "text"}
    for line in asked.client.ask("GET", "/report", query=query, text=True).splitlines():
        output.line(line)


@command("postmortem", daemon=True)
@click.argument("run")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file, which must be new."
)
def postmortem(asked: Asked, run: str, out: Path | None) -> int:
    """Draft a post-mortem of a run in Markdown: timeline, evidence, decisions, actions, open questions. RUN as for show."""
    client = asked.client
    found = client.ask("GET", f"/runs/{client.one(run)}")
    if found["confidential"]:
        click.echo(f"run {found['id']} is confidential: an operator may draft its post-mortem", err=True)
        return FAULT
    events = client.ask("GET", "/events", query={"run": found["id"], "limit": 1000})["events"]
    catalog = load_catalog()
    text = draft(
        Incident(found, events, _around(client, found)),
        lambda uses: catalog[uses].effect if uses in catalog else None,
    )
    if asked.json:
        output.document({"run": found["id"], "markdown": text})
    elif out is None:
        click.echo(text, nl=False)
    else:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            click.echo(f"remediator: {out} can't be written ({error.strerror}): name another file with --out", err=True)
            return FAULT
        click.echo(f"{out}: a draft; lines that begin with “?” are for people")
    return 0


def _around(client: Client, run: dict[str, Any]) -> list[dict[str, Any]]:
    """List the runs about that time on the same target, or of the same alerts, the oldest first."""
    begin = datetime.fromisoformat(run["created_at"]) - _BEFORE
    end = datetime.fromisoformat(run["ended_at"] or run["created_at"]) + _AFTER
    since = f"{int((datetime.now(UTC) - begin).total_seconds()) + 1}s"
    mine = {alert["fingerprint"] for alert in run["alerts"]}
    found = [
        each
        for each in client.runs(None, since=since)
        if each["id"] != run["id"]
        and datetime.fromisoformat(each["created_at"]) <= end
        and (
            (run["target"] is not None and each["target"] == run["target"])
            or mine & {alert["fingerprint"] for alert in each["alerts"]}
        )
    ]
    return sorted(found, key=lambda each: str(each["created_at"]))
