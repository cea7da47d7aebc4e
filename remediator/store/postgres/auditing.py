"""Reading a shared store's history whole, beside running daemons or without any."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from remediator.errors import StoreError
from remediator.store.chain import Audit, ChainReport, Head, Link
from remediator.store.export import export_lines
from remediator.store.postgres.connecting import LOST, Address, trouble
from remediator.store.postgres.session import Session

_PAGE = 5000
_CHECKPOINTS = "SELECT chain, base_number, base_hash FROM chains ORDER BY chain"
_LINES = "SELECT seq, chain, number, run, line, hash FROM events WHERE seq > $1 ORDER BY seq LIMIT $2"
_HELD = (
    "SELECT chain, number, hash FROM events WHERE (chain, number) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))"
)


def audit(url: str, expected: str | None = None) -> ChainReport:
    """Verify the chains of a store. Raises StoreError when it can't be read."""
    with _reading(url) as snapshot:
        walk = Audit(snapshot.checkpoints(), expected)
        walk.walk(link for _, link in snapshot.lines())
        wanted = sorted(walk.anchored())
        rows = snapshot.ask(_HELD, [chain for chain, _ in wanted], [number for _, number in wanted])
        told = snapshot.ask("SELECT chain, number, hash FROM published WHERE hash = $1", expected)
        return walk.report({(chain, number): hash_ for chain, number, hash_ in rows}, Head(*told[0]) if told else None)


def export(url: str) -> Iterator[bytes]:
    """Give the lines of an export of the history, as it is at this moment. Raises StoreError when it can't be read."""
    with _reading(url) as snapshot:
        yield from export_lines(snapshot.checkpoints(), snapshot.lines())


class _Snapshot:
    """One reading transaction, asked without a loop around."""

    def __init__(self, runner: asyncio.Runner, session: Session) -> None:
        self._runner = runner
        self._session = session

    def ask(self, sql: str, *values: Any) -> list[Any]:
        return self._runner.run(self._session.ask(sql, *values))

    def checkpoints(self) -> Sequence[Head]:
        return [Head(*row) for row in self.ask(_CHECKPOINTS)]

    def lines(self) -> Iterator[tuple[int, Link]]:
        """Give all lines in their order, some thousand at a time."""
        after = -1
        while page := self.ask(_LINES, after, _PAGE):
            for seq, chain, number, run, line, hash_ in page:
                yield seq, Link(chain, number, run, line, hash_)
            after = page[-1][0]


@contextmanager
def _reading(url: str) -> Iterator[_Snapshot]:
    address = Address(url)
    try:
        with asyncio.Runner() as runner:
            connection = runner.run(address.connect())
            try:
                runner.run(connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                yield _Snapshot(runner, Session(connection, prepares=False))
            finally:
                connection.terminate()
    except LOST as error:
        raise StoreError(f"the database {address} can't be read: {trouble(error)}") from error
