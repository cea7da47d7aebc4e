"""The commands of the daemon itself and of its store: serve, migrate."""

from __future__ import annotations

import os

from remediator.cli import output
from remediator.cli.command import Asked, command


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
