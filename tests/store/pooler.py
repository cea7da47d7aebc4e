"""PgBouncer before a PostgreSQL server, in transaction mode: each transaction may have another session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from daemon import eventually, free_port
from postgres import OWNER, PASSWORD, SUPERUSER, Server

_CONFIG = """
[databases]
* = host=127.0.0.1 port={server} user={owner} password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
logfile = {folder}/pgbouncer.log
"""


@contextmanager
def pooled(server: Server, sessions: int) -> Iterator[Callable[[str], str]]:
    """Give what makes of an address one that leads through a pooler with so many sessions; skips where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is missing: apt-get install pgbouncer")
    port = free_port()
    chosen = {"server": server.port, "owner": OWNER, "password": PASSWORD.replace("'", "''")}
    folder = server.folder  # its user's, who is ours there
    config, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    log.unlink(missing_ok=True)  # that of a pooler before this one says that it is up
    config.write_text(_CONFIG.format(**chosen, port=port, sessions=sessions, folder=folder))
    argv = [program, str(config)]
    if os.geteuid() == 0:  # which it refuses to be
        user = pwd.getpwnam(SUPERUSER)
        argv = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", *argv]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: log.exists() and "process up" in log.read_text(), "the pooler is up")
            yield (
                lambda url: (
                    urlsplit(url)._replace(netloc=urlsplit(url).netloc.replace(f":{server.port}", f":{port}")).geturl()
                )
            )
        finally:
            process.terminate()
            process.wait(10)
