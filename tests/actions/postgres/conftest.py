"""What the tests of `postgres.*` share: a real server, a database of one's own in it, and sessions that get in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres import APPLICATION, PASSWORD, Server, running, start

from remediator.actions.catalog import load_catalog
from remediator.actions.protocol import Context, Outcome
from remediator.forms.postgres import Postgres

CATALOG = load_catalog()
SECRET = "database_password"
_END_SESSIONS = """
SELECT coalesce(bool_and(NOT pg_terminate_backend(pid)), true) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass
class Place:
    """A database called `main`, and what was opened in it."""

    server: Server
    name: str
    folder: Path
    settings: Mapping[str, Any]
    opened: list[asyncpg.Connection] = field(default_factory=list)
    working: list[asyncio.Task[Any]] = field(default_factory=list)

    async def use(self, action: str, seconds: float = 10.0, **written: Any) -> Outcome:
        """Use an action of the group once."""
        found = CATALOG[f"postgres.{action}"]
        params = found.parameters.model_validate({"database": "main", **written})
        assert found.check(params, self.settings) is None
        deadline = asyncio.get_running_loop().time() + seconds
        context = Context(deadline, self.settings, {SECRET: PASSWORD}.__getitem__, run="01jd")
        return await found.run(params, context)

    def at(self, port: int | None = None, **main: Any) -> Place:
        """Give the same, configured otherwise."""
        return replace(self, settings=settings_of(self.server, self.name, self.folder, port, **main))

    async def session(
        self, user: str = APPLICATION, application: str = "shop", database: str = ""
    ) -> asyncpg.Connection:
        """Open a session, idle at first; it is closed with the test."""
        found = await asyncpg.connect(
            self.server.trusted(database or self.name, user), server_settings={"application_name": application}
        )
        self.opened.append(found)
        return found

    async def busy(self, session: asyncpg.Connection, sql: str = "SELECT pg_sleep(600)") -> int:
        """Have a session run a statement, and come back when it does; gives its pid."""
        self.working.append(asyncio.create_task(session.execute(sql)))
        pid: int = session.get_server_pid()
        await self.until("SELECT state = 'active' AND query = $2 FROM pg_stat_activity WHERE pid = $1", pid, sql)
        return pid

    async def until(self, sql: str, *values: object) -> None:
        """Ask the server again and again, till it says yes."""
        connection = await asyncpg.connect(self.server.trusted(self.name))
        try:
            async with asyncio.timeout(20):
                while not await connection.fetchval(sql, *values):
                    pass
        finally:
            await connection.close()

    async def close(self) -> None:
        """End all that was opened."""
        for task in self.working:
            task.cancel()
        for connection in self.opened:
            connection.terminate()
        for task in self.working:
            with suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await task
        with suppress(OSError):  # a server of one's own may have been stopped by the test
            # The server notices late that a client has gone, and other tests count its sessions.
            await self.until(_END_SESSIONS)


def settings_of(server: Server, name: str, folder: Path, port: int | None = None, **main: Any) -> dict[str, Any]:
    """Give the section as the configuration would, with one database `main`."""
    given = {"url": server.url(name, port=port), "password": {"secret": SECRET}, "backups": "backups", **main}
    given = {key: value for key, value in given.items() if value is not None}
    return {"postgres": Postgres.model_validate({"databases": {"main": given}}).resolved(folder)}


@pytest.fixture
async def primary(place: Place) -> AsyncIterator[Place]:
    """Give a server of one's own, so that a standby has little to copy."""
    server = start()
    made = replace(place, server=server, name=server.database(), opened=[], working=[]).at()
    yield made
    await made.close()
    server.stop()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Give an empty database of one's own, and a folder for its backups."""
    server = running()
    (tmp_path / "backups").mkdir()
    name = server.database()
    made = Place(server, name, tmp_path, settings_of(server, name, tmp_path))
    yield made
    await made.close()
