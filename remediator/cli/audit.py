"""The commands about the history of events: audit verify."""

from __future__ import annotations

import re

import click
import msgspec

from remediator.cli import output
from remediator.cli.command import FAULT, Asked, command


@click.group()
def audit() -> None:
    """Verify the history of events."""


def _hash(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
        raise click.BadParameter("a head is 64 hexadecimal digits: was it copied whole?")
    return value


@command("verify")
@click.option(
    "--head", metavar="HASH", callback=_hash, help="A head that was noted earlier: the history must still contain it."
)
def _verify(asked: Asked, head: str | None) -> int:
    """Walk the chain of events of the store; finds lines that were changed, removed, moved or cut off."""
    from remediator.store.sqlite import audit as audit_store

    report = audit_store(asked.config.store_path, head)
    if asked.json:
        output.document(msgspec.to_builtins(report))
        return 0 if report.ok else FAULT
    for problem in report.problems:
        output.line(problem)
    after = {each.chain: each.number for each in report.checkpoints}
    for each in report.heads if len(report.heads) > 1 or any(after.values()) else ():
        pruned = after.get(each.chain, 0)
        begins = f"pruned up to event {pruned}, then " if pruned else ""
        output.line(f"chain {each.chain}: {begins}{output.count(each.number - pruned, 'event')}, head {each.hash}")
    output.line(
        f"{'the chain holds' if report.ok else 'THE CHAIN IS BROKEN'}: {report.events} events, head {report.head}"
    )
    return 0 if report.ok else FAULT


audit.add_command(_verify)
