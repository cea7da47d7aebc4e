"""Replicas: the daemons over one store tell each other that they are there, and by which rules they decide."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import structlog

from remediator import __version__, metrics
from remediator.engine.engine import Engine
from remediator.model.time import Seconds, Timestamp
from remediator.store.chain import Head
from remediator.store.protocol import Replica, Transaction

_log = structlog.get_logger("remediator")

TELL_EVERY: Seconds = 15.0
HEARD: Seconds = 60.0  # one that was not heard of for so long is gone, or cut off from the store


class Replicas:
    """What this daemon tells the others, and what it knows of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started_at = engine.clock.now()
        self._others: frozenset[str] = frozenset()  # who decides by other rules than we do, as far as was told last

    async def tell(self) -> Head:
        """Tell that we are here, say where others have other rules, and give how far our history has got. Raises StoreError."""
        there, own = await self._engine.store.transact(self._script)
        mine = self._engine.desk.rules_hash
        others = frozenset(each.worker for each in there if each.rules != mine)
        metrics.REPLICAS.set(len(there))
        metrics.REPLICAS_WITH_OTHER_RULES.set(len(others))
        if others - self._others:
            words = "replicas over this store decide by different rules: give all of them the same files"
            hosts = sorted({f"{each.host} ({each.rules})" for each in there if each.worker in others})
            _log.warning(words, here=mine, there=", ".join(hosts))
        elif self._others and not others:
            _log.info("all replicas over this store decide by the same rules again")
        self._others = others
        return own

    async def _script(self, tx: Transaction) -> tuple[Sequence[Replica], Head]:
        now = self._engine.clock.now()
        await tx.tell_replica(self._here(now))
        await tx.touch(now)  # a clock that goes back while nothing happens is found by it at the next start
        own, _ = await tx.heads()
        return await tx.replicas(now - HEARD), own

    def _here(self, now: Timestamp) -> Replica:
        desk = self._engine.desk
        return Replica(desk.worker, host(), __version__, self._started_at, desk.rules_hash, now, desk.refused)


def host() -> str:
    """Give the name of this machine, or of the container that we are in."""
    return socket.gethostname()
