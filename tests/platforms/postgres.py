"""The stand of `postgres.*`: Debian's server, with a small shop's database and a backup of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from platforms.stand import Stand
from postgres import OWNER, PASSWORD, Server, Statement, programs, running

from remediator.actions.postgres.shelf import name_of
from remediator.forms.postgres import Postgres

SHOP = """
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, app text NOT NULL, state text NOT NULL DEFAULT 'new',
    created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO orders (app) SELECT 'web' FROM generate_series(1, 20);
CREATE TABLE "Odd "" name" (a int);
"""
SECRET = "database_password"


@cache
def shop() -> tuple[str, bytes]:
    """Make this process's shop, and give its database and a dump of it."""
    server = running()
    name = server.database(SHOP)
    made = subprocess.run([programs() / "pg_dump", "-Fc", "-d", server.trusted(name)], check=True, capture_output=True)
    return name, made.stdout


def shelve(folder: Path, name: str, data: bytes) -> Path:
    """Put a backup into a folder, with its checksum."""
    (folder / name).write_bytes(data)
    (folder / f"{name}.sha256").write_text(f"{sha256(data).hexdigest()}  {name}\n")
    return folder / name


def _values(statement: Statement) -> list[Any]:
    """Give the parameters of a statement; arrays, which the server writes as one text, taken apart."""
    if "[]" not in statement.sql:
        return list(statement.parameters)
    return [value and _items(value) if (value or "").startswith("{") else value for value in statement.parameters]


def _items(text: str) -> list[str]:
    found = re.finditer(r'"((?:[^"\\]|\\.)*)"|([^",{}]+)', text, re.S)
    return [re.sub(r"\\(.)", r"\1", each[1], flags=re.S) if each[2] is None else each[2] for each in found]


def configured(server: Server, database: str, folder: Path, port: int | None = None) -> dict[str, Any]:
    """Give the section as the configuration would."""
    main = {"url": server.url(database, OWNER, port), "password": {"secret": SECRET}, "backups": "backups"}
    return {"postgres": Postgres.model_validate({"databases": {"main": main}}).resolved(folder)}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Lead to the server; what it has logged is what has arrived."""
    server = running()
    database, dump = shop()
    backups = folder / "backups"
    name = name_of("main", "hourly", time.time() - 60)
    since = 0

    def reset() -> None:
        nonlocal since
        shutil.rmtree(backups, ignore_errors=True)
        backups.mkdir()
        shelve(backups, name, dump)
        since = server.log.stat().st_size

    def arrived() -> list[Mapping[str, Any]]:
        ours = [each for each in server.statements(since) if each.application == "remediator"]
        return [
            # A statement's hash stands for it, so that no short value is found in its words.
            {"statement": sha256(each.sql.encode()).hexdigest(), "parameters": _values(each)}
            for each in ours
            if "set_config" not in each.sql  # the time that is left
        ]

    reset()
    selection = {"database": "main", "age": "1h", "user": "a-{{ labels.app }}", "application": "{{ labels.app }}"}
    everywhere = {"connected_to": "{{ labels.database }}"}
    return Stand(
        settings=configured(server, database, folder),
        secrets={SECRET: PASSWORD},
        samples={
            "postgres.terminate_idle": [{**selection, **everywhere, "states": ["idle", "idle in transaction"]}],
            "postgres.cancel_long": [{**selection, **everywhere}, {**selection, "connected_to": "*"}],
            "postgres.terminate_long": [{**selection, **everywhere}],
            "postgres.verify_backup": [
                {"database": "main", "backup": name, "on": "main", "tables": {"public.orders": 20}}
            ],
            "postgres.query": [
                {"database": "main", "sql": "SELECT $1 || 'x' AS a, $2::int AS b", "bind": ["{{ labels.app }}", 1]},
                {"database": "main", "sql": "SELECT $1::text[]", "bind": [["a", "{{ labels.app }}"]]},
            ],
            "postgres.vacuum_analyze": [{"database": "main", "tables": ["orders", 'public."Odd "" name"']}],
        },
        arrived=arrived,
        reach=lambda port: configured(server, database, folder, port),
        reset=reset,
        offline=frozenset({"postgres.backup_list", "postgres.backup_prune"}),  # they look into a folder
    )
