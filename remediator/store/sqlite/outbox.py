"""The SQL of the outbox."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from remediator.model.message import KeptMessage, Message
from remediator.model.time import Timestamp
from remediator.store.sqlite.rows import Rows

_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Message)
_READ = "SELECT seq, channel, body, worker FROM outbox"
_FIRST = "seq IN (SELECT min(seq) FROM outbox GROUP BY channel)"  # of each channel: the others wait for it


class OutboxRows(Rows):
    """Messages, in the order in which they were to be sent."""

    async def keep_message(self, channel: str, message: Message, due_at: Timestamp) -> None:
        self._insert("outbox (channel, due_at, body)", 3, [(channel, due_at, _encode(message).decode())])

    async def waits_for_outbox(self, channel: str) -> bool:
        return self._one("SELECT 1 FROM outbox WHERE channel = ? LIMIT 1", channel) is not None

    async def claim_messages(self, worker: str, now: Timestamp, until: Timestamp) -> Sequence[KeptMessage]:
        found = self._all(f"{_READ} WHERE {_FIRST} AND due_at <= ? ORDER BY seq", now)
        for seq, *_ in found:
            self.connection.execute("UPDATE outbox SET worker = ?, due_at = ? WHERE seq = ?", (worker, until, seq))
        return list(map(_read, found))

    async def put_back_message(self, seq: int, worker: str, message: Message, due_at: Timestamp) -> bool:
        changed = self.connection.execute(
            "UPDATE outbox SET worker = NULL, due_at = ?, body = ? WHERE seq = ? AND worker = ?",
            (due_at, _encode(message).decode(), seq, worker),
        )
        return changed.rowcount == 1

    async def drop_message(self, seq: int, worker: str) -> bool:
        return self.connection.execute("DELETE FROM outbox WHERE seq = ? AND worker = ?", (seq, worker)).rowcount == 1

    async def messages(self, limit: int) -> Sequence[KeptMessage]:
        found = self._all(f"{_READ} ORDER BY seq LIMIT ?", limit)
        return list(map(_read, found))

    async def count_messages(self) -> int:
        (count,) = self._one("SELECT count(*) FROM outbox")
        return int(count)

    async def next_message_due(self) -> Timestamp | None:
        (due,) = self._one(f"SELECT min(due_at) FROM outbox WHERE {_FIRST}")  # noqa: S608
        return None if due is None else float(due)


def _read(row: tuple[int, str, str, str | None]) -> KeptMessage:
    seq, channel, body, holder = row
    return KeptMessage(seq, channel, _decoder.decode(body), interrupted=holder is not None)
