"""The commands of the daemon itself and of its store: serve, migrate, audit."""

from __future__ import annotations

import os

import click
import msgspec

from remediator.cli import output
from remediator.cli.command import FAULT, Asked, command


@command("serve")
def serve(asked: Asked) -> int:
    """Run the daemon. SIGTERM drains and stops, SIGHUP reloads, a second SIGTERM stops at once."""
    from remediator import app

    return app.serve(asked.config_path, os.environ)


@command("migrate")
def migrate(asked: Asked) -> None:
    """Bring the store's schema up to date (the daemon must not be running)."""
    import asyncio

    from remediator.store.sqlite import open_store

    path = asked.config.store_path
    asyncio.run(open_store(path, migrate=True).close())
    output.document({"ok": True, "store": str(path)}) if asked.json else output.line(f"{path} is up to date")


@click.group()
def audit() -> None:
    """Verify the history of events."""


@command("verify")
@click.option("--head", metavar="HASH", help="A head that was noted earlier: the history must still contain it.")
def _verify(asked: Asked, head: str | None) -> int:
    """Walk the chain of events from its beginning; finds lines that were changed, removed, moved or cut off."""
    from remediator.store.sqlite import audit as audit_store

    report = audit_store(asked.config.store_path, head)
    if asked.json:
        output.document(msgspec.to_builtins(report))
    else:
        for problem in report.problems:
            output.line(problem)
        output.line(
            f"{'the chain holds' if report.ok else 'THE CHAIN IS BROKEN'}: {report.events} events, head {report.head}"
        )
    return 0 if report.ok else FAULT


audit.add_command(_verify)
