"""The SQL of the daemons that work here: over an embedded store there is one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from remediator.model.time import Timestamp
from remediator.store.protocol import Replica
from remediator.store.sqlite.rows import Rows


class ReplicaRows(Rows):
    """Who works here."""

    async def tell_replica(self, replica: Replica) -> None:
        self._insert(
            "meta (key, value)", 2, [("replica", msgspec.json.encode(replica).decode())],
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )  # fmt: skip

    async def replicas(self, since: Timestamp) -> Sequence[Replica]:
        told = [
            msgspec.json.decode(row[0], type=Replica)
            for row in self._all("SELECT value FROM meta WHERE key = 'replica'")
        ]
        return [each for each in told if each.seen_at >= since]
