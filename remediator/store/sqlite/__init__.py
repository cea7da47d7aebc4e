"""The embedded store: `store` runs scripts on the writing thread, `file` opens and verifies; the SQL is in the row classes."""

from remediator.store.sqlite.file import audit, open_store
from remediator.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "audit", "open_store"]
