"""The command for the morning: report."""

from __future__ import annotations

import click

from remediator.cli import output
from remediator.cli.command import Asked, command


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
