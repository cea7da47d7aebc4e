"""The head of the history is told outside of the store, and the heads of other replicas' chains are written into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from prometheus_client import generate_latest
from stage import VirtualClock
from structlog.testing import capture_logs

from remediator import metrics
from remediator.engine.anchoring import Anchoring
from remediator.model.run import Event, EventKind
from remediator.store.chain import GENESIS, Audit, ChainReport, Head, Link, line_of
from remediator.store.protocol import Store, StoredEvent
from remediator.store.sqlite import MemoryStore, open_memory
from remediator.store.sqlite.transaction import SqliteTransaction


class Seeing(SqliteTransaction):
    """A transaction that sees the chain of another replica beside its own, as in a database of both."""

    def __init__(self, store: MemoryStore, other: MemoryStore) -> None:
        super().__init__(store._connection)
        self._other = SqliteTransaction(other._connection)

    async def heads(self) -> tuple[Head, Sequence[Head]]:
        """Give the other's head under its own name."""
        (own, _), (theirs, _) = await super().heads(), await self._other.heads()
        return own, [Head("other", theirs.number, theirs.hash)]


@pytest.fixture
async def other() -> AsyncIterator[MemoryStore]:
    """Lend the store of a replica that nobody anchors in."""
    opened = open_memory()
    yield opened
    await opened.close()


@pytest.fixture
async def store(other: MemoryStore) -> AsyncIterator[MemoryStore]:
    """Lend the store of a replica that sees the other one's chain."""
    opened = open_memory()
    opened._transaction = Seeing(opened, other)
    yield opened
    await opened.close()


async def written(store: Store, *numbers: int) -> None:
    """Have a replica write something."""
    await store.transact(lambda tx: tx.append([Event(n, EventKind.LOST, None, {"number": n}) for n in numbers]))


async def history(store: Store) -> Sequence[StoredEvent]:
    """Read what a replica wrote."""
    return await store.view(lambda tx: tx.events(0, 100))


def exposed() -> list[str]:
    """Read the metrics about the history."""
    return [
        line for line in generate_latest(metrics.REGISTRY).decode().splitlines() if line.startswith("remediator_audit")
    ]


def verified(**chains: Sequence[StoredEvent]) -> ChainReport:
    """Verify the chains of two replicas together."""
    audit = Audit(Head(name, 0, GENESIS) for name in chains)
    for name, events in chains.items():
        for each in events:
            line = line_of(Event(each.at, EventKind(each.kind), each.run, each.data))
            audit.walk([Link(name, each.number, each.run, line, each.hash)])
    held = {(name, each.number): each.hash for name, events in chains.items() for each in events}
    return audit.report({at: held[at] for at in audit.anchored()})


async def test_the_head_is_told_in_the_log_and_in_the_metrics_and_its_event_is_kept(other: MemoryStore) -> None:
    """Only the newest head is exposed: else a series would be left behind every hour."""
    anchoring = Anchoring(other, VirtualClock())
    for number in (1, 2, 3):
        await written(other, number)
        with capture_logs() as lines:
            await anchoring.publish()
    newest = (await history(other))[-1]
    assert [(line["chain"], line["number"], line["hash"]) for line in lines] == [("local", 3, newest.hash)]
    assert exposed() == [
        'remediator_audit_events{chain="local"} 3.0',
        f'remediator_audit_head_info{{chain="local",hash="{newest.hash}"}} 1.0',
    ]
    kept = other._connection.execute("SELECT value FROM meta WHERE key = ?", (f"head:{newest.hash}",)).fetchall()
    assert kept == [("3",)]


async def test_publishing_adds_nothing_to_a_history_that_is_alone(other: MemoryStore) -> None:
    """There is no other chain to anchor, and a head that is published every hour must not make one."""
    await written(other, 1)
    for _ in range(3):
        await Anchoring(other, VirtualClock()).publish()
    assert len(await history(other)) == 1


async def test_p8_the_head_of_another_replica_is_anchored_when_it_has_moved(
    store: MemoryStore, other: MemoryStore
) -> None:
    """Once for each head: a replica that has gone doesn't fill the others' histories."""
    anchoring = Anchoring(store, VirtualClock())
    await written(other, 1, 2)
    seen = (await history(other))[-1]
    for _ in range(2):
        await anchoring.publish()
    assert [(each.kind, each.run, each.data) for each in await history(store)] == [
        ("chain.anchored", None, {"chain": "other", "number": 2, "hash": seen.hash})
    ]
    await written(other, 3)
    with capture_logs() as lines:
        await anchoring.publish()
    assert [each.data["number"] for each in await history(store)] == [2, 3]
    assert (lines[0]["number"], lines[0]["hash"]) == (2, (await history(store))[-1].hash)


async def test_p8_what_was_anchored_is_missed_when_it_is_cut_off(store: MemoryStore, other: MemoryStore) -> None:
    """Though the chain that lost its end holds by itself."""
    await written(other, 1, 2, 3)
    await Anchoring(store, VirtualClock()).publish()
    for left, ok in ((3, True), (2, False)):
        assert verified(local=await history(store), other=(await history(other))[:left]).ok is ok
