"""The command that makes a person's token. It asks no daemon: who puts the hash into the configuration gives the access."""

from __future__ import annotations

import hashlib
import json
import secrets

import click

from remediator.cli import output
from remediator.cli.command import Asked, command
from remediator.forms.access import person_name


@command("token")
@click.argument("name")
def token(asked: Asked, name: str) -> None:
    """Make a token for NAME, and what to write under `access` for it. The token itself is kept nowhere."""
    try:
        person_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    made = secrets.token_urlsafe(32)
    digest = hashlib.sha256(made.encode()).hexdigest()
    if asked.json:
        output.document({"name": name, "token": made, "sha256": digest})
        return
    output.line(f"The token of {name}, for --token or REMEDIATOR_TOKEN, shown this once: {made}")
    click.echo("In the configuration:\n\naccess:\n  users:")
    output.line(f"    {json.dumps(name, ensure_ascii=False)}: {{role: operator, token: '{digest}'}}")
