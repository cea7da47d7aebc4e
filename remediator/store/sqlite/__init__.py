"""The embedded store: `store` runs scripts on the writing thread, `memory` without one.

`file` opens it, `auditing` reads its history whole. The SQL is in the row classes.
"""

from remediator.store.sqlite.auditing import audit, export
from remediator.store.sqlite.file import open_store
from remediator.store.sqlite.memory import MemoryStore, open_memory
from remediator.store.sqlite.store import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "audit", "export", "open_memory", "open_store"]
