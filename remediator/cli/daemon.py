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
    """Bring the store's schema up to date. A file must be nobody's meanwhile; daemons may go on over PostgreSQL."""
    import asyncio
    import time

    from remediator.store.opening import open_configured

    async def bring() -> str:
        store = await open_configured(asked.config, lambda now: None, time.time(), migrate=True)
        await store.close()
        return store.place

    place = asyncio.run(bring())
    output.document({"ok": True, "store": place}) if asked.json else output.line(f"{place} is up to date")
