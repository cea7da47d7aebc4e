"""Opening the store that a configuration names, and the seat that a daemon has in its state folder.

What is embedded and what is shared differ here alone: behind the protocol they are alike.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from remediator.config import LoadedConfig
from remediator.errors import StoreLocked
from remediator.model.time import Timestamp
from remediator.store.chain import ChainReport
from remediator.store.protocol import Store
from remediator.store.sqlite import audit as audit_sqlite
from remediator.store.sqlite import export as export_sqlite
from remediator.store.sqlite import open_store as open_sqlite


async def open_configured(
    loaded: LoadedConfig, tell_time: Callable[[Timestamp], None], now: Timestamp, *, migrate: bool = True
) -> Store:
    """Open the store of a configuration; a shared one tells its time by `tell_time`. Raises StoreError.

    PostgreSQL's driver is loaded only where it is needed.
    """
    if loaded.store_url is None:
        return open_sqlite(loaded.store_path, migrate=migrate)
    from remediator.store.postgres import open_store as open_postgres  # noqa: PLC0415

    chain = f"{socket.gethostname()}:{loaded.config.address.port}"  # two daemons on one machine listen on two ports
    return await open_postgres(loaded.store_url, chain, tell_time, now, migrate=migrate)


def audit_configured(loaded: LoadedConfig, expected: str | None) -> ChainReport:
    """Verify the history of a configuration's store. Raises StoreError when it can't be read."""
    if loaded.store_url is None:
        return audit_sqlite(loaded.store_path, expected)
    from remediator.store.postgres.auditing import audit as audit_postgres  # noqa: PLC0415

    return audit_postgres(loaded.store_url, expected)


def export_configured(loaded: LoadedConfig) -> Iterator[bytes]:
    """Give the lines of an export of that history. Raises StoreError when it can't be read."""
    if loaded.store_url is None:
        return export_sqlite(loaded.store_path)
    from remediator.store.postgres.auditing import export as export_postgres  # noqa: PLC0415

    return export_postgres(loaded.store_url)


class Seat:
    """A daemon's place in its state folder: no other has it while this one lives, and the next one learns who it was."""

    def __init__(self, folder: Path) -> None:
        """Take the seat. Raises StoreLocked when another daemon has it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "daemon", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            words = f"another daemon keeps its state in {folder}: stop it, or give this one another folder as `state`"
            raise StoreLocked(words) from None
        self.before = os.pread(self._file, 100, 0).decode(errors="replace") or None  # the worker that had it last

    def sit(self, worker: str) -> None:
        """Note who has it now, for whoever comes next."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, worker.encode(), 0)

    def leave(self) -> None:
        """Let go of it."""
        os.close(self._file)
