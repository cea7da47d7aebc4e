"""pg_dump and pg_restore: where they are, and how they are run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from remediator.actions.children import SEARCHED, Command, Ended, NotStarted, run
from remediator.actions.postgres.connecting import US, Database
from remediator.actions.protocol import Context, Outcome, Result
from remediator.model.time import Seconds

# Where the packages of Debian and of the PostgreSQL project put each version's own; what is in /usr/bin may be a wrapper.
_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")
_MISSING = "install the package postgresql-client, of the server's version or a newer one, or set postgres.programs"


def locate(name: str, folder: str | None) -> Path | None:
    """Give a program's path: in the folder that is configured, else the newest version's that is found."""
    if folder is not None:
        return next((path for path in (Path(folder) / name,) if path.is_file()), None)
    found = [path for pattern in _FOLDERS for path in Path("/").glob(f"{pattern}/{name}")]
    searched = [Path(place) / name for place in SEARCHED.split(":")]
    return max(found, key=_version, default=next((path for path in searched if path.is_file()), None))


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall("[0-9]+", str(path.parent)))


async def run_program(database: Database, context: Context, name: str, arguments: Sequence[str]) -> Ended | Outcome:
    """Run one of PostgreSQL's programs to its end. The password is in its environment, never among its arguments."""
    folder = (context.settings.get("postgres") or {}).get("programs")
    path = locate(name, folder)
    if path is None:
        return Outcome(Result.NOT_SENT, error=f"there is no {name} {f'in {folder}' if folder else 'here'}: {_MISSING}")
    env = {"LC_ALL": "C", "PGAPPNAME": US, "PGCONNECT_TIMEOUT": str(max(2, int(context.remaining())))}
    if database.password is not None:
        env["PGPASSWORD"] = database.password
    command = Command([name, "--no-password", *arguments], str(path), {**env, "REMEDIATOR_RUN": context.run})
    ended = await run(command, context.deadline)
    return database.outcome(Result.NOT_SENT, ended.why) if isinstance(ended, NotStarted) else ended


def complaint(name: str, ended: Ended) -> str | None:
    """Say why a program did not end well, None where it did."""
    if ended.timed_out or ended.exit_status is None:
        return f"{name} had not ended after {ended.seconds:.1f} s and was ended"
    if ended.exit_status == 0:
        return None
    lines = [line.strip() for line in ended.stderr.split("\n") if line.strip()]
    errors = [line for line in lines if "error:" in line]
    said = (errors or lines or ["it said nothing"])[0]
    return f"{name} ended with exit status {ended.exit_status}: {said}"


def lost(ended: Ended) -> bool:
    """Tell whether a program was stopped, or lost the server: what it was at is neither right nor wrong by that."""
    words = r"connection to server|server closed the connection|terminating connection|could not receive data"
    return ended.timed_out or (ended.exit_status or -1) < 0 or re.search(words, ended.stderr) is not None


def before(context: Context, reserve: Seconds) -> float:
    """Give an instant somewhat before the deadline: what is left over is for tidying up, a fifth of the time at most."""
    return context.deadline - min(reserve, context.remaining() / 5)
