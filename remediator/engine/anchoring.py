"""The head of the history, told where whoever changes the store can't reach: the log, the metrics, and other replicas' chains.

A history from which lines were cut off at the end, or that was written anew, holds by itself; only a head that was noted before
tells it from the true one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from remediator import metrics
from remediator.engine.clock import Clock
from remediator.model.run import Event, EventKind
from remediator.store.chain import Head
from remediator.store.protocol import Store, Transaction

_log = structlog.get_logger("remediator")


class Anchoring:
    """Publishes the head of this replica's chain, and writes the others' into it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, Head] = {}  # by chain: a replica that has gone is anchored once, and not every hour

    async def publish(self) -> Head:
        """Anchor the other chains, then tell the own head, and give it. Raises StoreError."""

        async def script(tx: Transaction) -> tuple[Head, Sequence[Head]]:
            _, others = await tx.heads()
            new = [head for head in others if self._seen.get(head.chain) != head]
            now = self._clock.now()
            await tx.append([Event(now, EventKind.ANCHORED, None, msgspec.to_builtins(head)) for head in new])
            own, _ = await tx.heads()
            await tx.keep_head(own)
            return own, new

        own, anchored = await self._store.transact(script)
        self._seen.update({head.chain: head for head in anchored})
        metrics.AUDIT_EVENTS.labels(own.chain).set(own.number)
        metrics.AUDIT_HEAD.labels(own.chain).info({"hash": own.hash})
        _log.info(
            "head of the history: `audit verify --head` asks for it", chain=own.chain, number=own.number, hash=own.hash
        )
        return own
