"""Opening the store that a configuration names, and the seat that a daemon has in its state folder.

What is embedded and what is shared differ here alone: behind the protocol they are alike.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from remediator.config import LoadedConfig
from remediator.errors import StoreForeign, StoreLocked
from remediator.model.time import Timestamp
from remediator.store.chain import ChainReport, Head
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


class _Sitting(msgspec.Struct):
    """What is noted of a daemon in its state folder."""

    worker: str
    head: Head | None = None


class Seat:
    """A daemon's place in its state folder: no other has it while this one lives, and the next one learns who it was.

    The head of the history is noted there too, beside the store: a store that was restored from an older backup is found out.
    """

    def __init__(self, folder: Path) -> None:
        """Take the seat. Raises StoreLocked when another daemon has it, StoreForeign when the folder can't be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / "daemon", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            words = f"the folder {folder} can't keep the daemon's state ({error.filename}: {error.strerror})"
            raise StoreForeign(f"{words}: mend it, or name another one as `state`") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            words = f"another daemon keeps its state in {folder}: stop it, or give this one another folder as `state`"
            raise StoreLocked(words) from None
        try:
            self._noted = msgspec.json.decode(os.pread(self._file, 1000, 0), type=_Sitting)
        except msgspec.MsgspecError:  # nobody was here, or was killed while writing: then nothing is known
            self._noted = _Sitting("")

    @property
    def before(self) -> str | None:
        """Name the worker that had it last."""
        return self._noted.worker or None

    @property
    def head(self) -> Head | None:
        """Give the newest head of the history that was noted."""
        return self._noted.head

    def sit(self, worker: str) -> None:
        """Note who has it now, for whoever comes next."""
        self._write(_Sitting(worker, self._noted.head))

    def note(self, head: Head) -> None:
        """Note that the history has got so far."""
        self._write(_Sitting(self._noted.worker, head))

    def _write(self, noted: _Sitting) -> None:
        self._noted = noted
        text = msgspec.json.encode(noted)
        os.pwrite(self._file, text.ljust(400) + b"\n", 0)

    def leave(self) -> None:
        """Let go of it."""
        os.close(self._file)
