"""A throw-away PostgreSQL server, one to a test process: Debian's own, in a temporary folder, gone with the process.

    server = running()
    name = server.database()            # a new, empty database, owned by OWNER
    connection = await asyncpg.connect(server.url(name), password=PASSWORD)

It listens on the loopback, where passwords are asked for, and on a socket in its folder, where everybody is trusted.
Nothing is synced to the disk (`fsync=off`): tests of crashes of the machine need a server of their own.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

SUPERUSER = "postgres"
OWNER = "remediator"  # no superuser, but pg_monitor, pg_signal_backend and CREATEDB
APPLICATION = "shop"  # a plain user, as applications are
PASSWORD = "pa55 w'ord/of-the-tests"
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "replica",
    "autovacuum": "off",
    "timezone": "UTC",
    "shared_preload_libraries": "pg_stat_statements",
    "log_statement": "all",
    "log_line_prefix": "\x02%a\x02%q",  # no line of a text begins so: they are indented
}
_ACCESS = """
local all,replication all trust
host all,replication all 127.0.0.1/32 scram-sha-256
"""
_ROLES = f"""
CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{PASSWORD.replace("'", "''")}';
CREATE ROLE {APPLICATION} LOGIN PASSWORD '{PASSWORD.replace("'", "''")}';
GRANT pg_monitor, pg_signal_backend TO {OWNER};
"""


def programs() -> Path:
    """Give the folder with the server's programs, the newest version's where there are several."""
    found = [path.parent for path in Path("/").glob("usr/lib/postgresql/*/bin/initdb")]
    found.sort(key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)
    if not found and (config := shutil.which("pg_config")):
        told = subprocess.run([config, "--bindir"], check=True, capture_output=True, text=True).stdout.strip()
        found = [Path(told)] if (Path(told) / "initdb").exists() else []
    if not found:
        raise LookupError("there is no PostgreSQL server here: apt-get install postgresql postgresql-contrib")
    return found[-1]


@dataclass(frozen=True)
class Statement:
    """One statement that the server has logged."""

    application: str
    sql: str
    parameters: tuple[str | None, ...] = ()


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    settings: Mapping[str, str] = field(default_factory=dict)  # laid over those of all
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def data(self) -> Path:
        """Give the cluster's folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """Give the file that it logs to, statement for statement, before each is carried out."""
        return self.folder / "log"

    def url(self, database: str = "postgres", user: str = OWNER, port: int | None = None) -> str:
        """Give the address over TCP, without the password."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def trusted(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Give the address by the socket, where nobody is asked for a password."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def run(self, sql: str, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Run statements, and give what psql prints: rows without decoration."""
        argv = [
            programs() / "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.trusted(database, user),
        ]
        done = subprocess.run([*argv, "-f", "-"], input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def database(self, sql: str = "") -> str:
        """Make a new database, owned by OWNER, and give its name; the statements are run in it as OWNER."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
        if sql:
            self.run(sql, name, OWNER)
        return name

    def store(self) -> str:
        """Make a new database for a store, and give its whole address; what is asked there is not logged."""
        name = self.database()
        self.run(f"ALTER DATABASE {name} SET log_statement = 'none'")
        return f"postgresql://{OWNER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}"

    def statements(self, since: int = 0) -> list[Statement]:
        """Give what it was asked from a place in the log on, in the server's words."""
        with self.log.open("rb") as file:
            file.seek(since)
            text = file.read().decode(errors="replace")
        entries = [entry.partition("\x02") for entry in re.split(r"(?:^|(?<=\n))\x02", text) if entry]
        found: list[Statement] = []
        for application, _, rest in entries:
            said = rest.removesuffix("\n").replace("\n\t", "\n")
            if read := re.match(r"LOG:  (?:statement|execute [^:]*): (.*)", said, re.S):
                found.append(Statement(application, read[1]))
            elif found and (read := re.match(r"DETAIL:  parameters: (.*)", said, re.S)):
                last = found.pop()
                found.append(Statement(last.application, last.sql, _parameters(read[1])))
        return found

    def halt(self, mode: str = "immediate") -> None:
        """Stop it, and leave its data for another start."""
        _as_server([programs() / "pg_ctl", "stop", "-D", self.data, "-m", mode, "-w"], check=False)
        self.process.wait()

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, and take its folder away."""
        self.halt(mode)
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """Start it again after a halt, as it was, at its old port."""
        self.process = launch(self.folder, self.settings, self.port).process


def _parameters(text: str) -> tuple[str | None, ...]:
    r"""Read `$1 = 'it''s', $2 = NULL`."""
    found = re.finditer(r"\$\d+ = (?:NULL|(?P<text>'(?:[^']|'')*'))(?:, |$)", text, re.S)
    return tuple(each["text"] and each["text"][1:-1].replace("''", "'") for each in found)


def _identity() -> Sequence[str]:
    """Give what comes before a command: PostgreSQL does not run as root, and it is to end with this process."""
    ends = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return ends
    user = pwd.getpwnam(SUPERUSER)
    return [*ends, "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


def _as_server(argv: Sequence[str | Path], *, check: bool = True) -> None:
    done = subprocess.run([*_identity(), *map(str, argv)], capture_output=True, text=True, check=False, cwd="/")
    assert not check or done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def _home() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam(SUPERUSER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def start(settings: Mapping[str, str] = {}) -> Server:
    """Start a server of one's own: call its `stop` when done with it."""
    folder = _home()
    argv = ["-D", folder / "data", "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    _as_server([programs() / "initdb", *argv])
    (folder / "data" / "pg_hba.conf").write_text(_ACCESS)
    server = launch(folder, settings)
    server.run(_ROLES)
    return server


def standby_of(primary: Server, user: str = SUPERUSER) -> Server:
    """Start a server that follows another."""
    folder = _home()
    argv = ["-D", folder / "data", "-d", primary.trusted(user=user), "-R", "--checkpoint=fast", "--no-sync"]
    _as_server([programs() / "pg_basebackup", *argv])
    return launch(folder, {})


def launch(folder: Path, settings: Mapping[str, str], port: int | None = None) -> Server:
    """Start the server whose data are in a folder, and come back when it takes connections."""
    port = port or _free_port()
    chosen = {
        **_SETTINGS, "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder), **settings,
    }  # fmt: skip
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("ab") as log:
        argv = [*_identity(), str(programs() / "postgres"), "-D", str(folder / "data"), *options]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", process_group=0)
    status = folder / "data" / "postmaster.pid"
    until = time.monotonic() + 30
    while not status.exists() or "ready" not in status.read_text():  # its eighth line says so
        assert process.poll() is None, (folder / "log").read_text(errors="replace")
        assert time.monotonic() < until, "PostgreSQL did not start within 30 s"
        time.sleep(0.01)
    return Server(folder, port, process, settings)


@cache
def running() -> Server:
    """Give this process's server, started when first asked for."""
    server = start()
    atexit.register(server.stop)
    return server
