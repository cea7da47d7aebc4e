"""The SQL of the daemons that work here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from remediator.model.time import Timestamp
from remediator.store.postgres.rows import Rows
from remediator.store.protocol import Replica


class ReplicaRows(Rows):
    """Who works here."""

    async def tell_replica(self, replica: Replica) -> None:
        await self._insert(
            "replicas (worker, seen_at, told)", "text, float8, text",
            [(replica.worker, replica.seen_at, msgspec.json.encode(replica).decode())],
            "ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at, told = excluded.told",
        )  # fmt: skip

    async def replicas(self, since: Timestamp) -> Sequence[Replica]:
        told = await self._all("SELECT told FROM replicas WHERE seen_at >= $1", since)
        found = [msgspec.json.decode(row[0], type=Replica) for row in told]
        return sorted(found, key=lambda each: (each.host, each.started_at, each.worker))
