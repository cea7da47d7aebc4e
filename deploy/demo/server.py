"""A PostgreSQL server of the demo's own: Debian's, in a folder that goes with the demo. Its users are trusted on the loopback."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "40",
    "superuser_reserved_connections": "1",
    "shared_buffers": "16MB",
    "fsync": "off",  # nothing of it is to be kept
    "timezone": "UTC",
}
_ROLES = """
CREATE ROLE remediator LOGIN CREATEDB;
CREATE ROLE app LOGIN;
GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO remediator;
CREATE DATABASE app OWNER app;
CREATE DATABASE staging OWNER remediator;
"""
_DATA = """
SET ROLE app;
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT number, 'user ' || number FROM generate_series(1, 1000) AS number;
CREATE TABLE settings (name text PRIMARY KEY, value float8 NOT NULL);
INSERT INTO settings VALUES ('share', 1), ('running', 1), ('dollars', 0.0001);
CREATE TABLE _prisma_migrations (started_at timestamptz NOT NULL);
INSERT INTO _prisma_migrations VALUES (now() - interval '30 days');
"""


class Missing(Exception):
    """PostgreSQL is not installed."""


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise Missing("PostgreSQL is not installed: apt-get install postgresql postgresql-contrib")
    return found[-1].parent


class Server:
    """The server: started when made."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="remediator-demo-postgres-"))
        self._as: Sequence[str] = ()
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": str(self.folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("wb") as log:
            argv = [*self._as, str(_programs() / "postgres"), "-D", data, *options]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self._await()
        self._ask(_ROLES, "postgres")
        self._ask(_DATA, "app")

    def url(self, user: str, database: str = "app") -> str:
        """Give the address for one of its users."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """End it at once, with all its sessions."""
        self.process.send_signal(3)  # SIGQUIT
        self.process.wait(10)

    def _await(self) -> None:
        until = time.monotonic() + 30
        status = self.folder / "data" / "postmaster.pid"
        while not status.exists() or "ready" not in status.read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Missing(f"PostgreSQL does not start: {(self.folder / 'log').read_text(errors='replace')[-1000:]}")
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str, given: str = "") -> None:
        argv = [*self._as, str(_programs() / program), *arguments]
        done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise Missing(f"{program} ended with status {done.returncode}: {done.stderr[-1000:]}")

    def _ask(self, sql: str, database: str) -> None:
        where = ("-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database)
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, given=sql)
