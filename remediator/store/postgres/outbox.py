"""The SQL of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remediator.model.message import KeptMessage, Message
from remediator.model.time import Timestamp
from remediator.store.postgres.rows import Rows

_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Message)
_READ = "SELECT seq, channel, body, worker FROM outbox"
_FIRST = "seq IN (SELECT min(seq) FROM outbox GROUP BY channel)"  # of each channel: the others wait for it


class OutboxRows(Rows):
    """Messages, in the order in which they were to be sent."""

    async def keep_message(self, channel: str, message: Message, due_at: Timestamp) -> None:
        self.stirred = True
        await self._change(
            "INSERT INTO outbox (channel, due_at, body) VALUES ($1, $2, $3)", channel, due_at, _encode(message).decode()
        )

    async def waits_for_outbox(self, channel: str) -> bool:
        return await self._one("SELECT 1 FROM outbox WHERE channel = $1 LIMIT 1", channel) is not None

    async def claim_messages(self, worker: str, now: Timestamp, until: Timestamp) -> Sequence[KeptMessage]:
        found = await self._all(f"{_READ} WHERE {_FIRST} AND due_at <= $1 ORDER BY seq", now)
        if found:
            await self._change(
                "UPDATE outbox SET worker = $1, due_at = $2 WHERE seq = ANY($3::bigint[])",
                worker, until, [seq for seq, *_ in found],
            )  # fmt: skip
        return list(map(_read, found))

    async def put_back_message(self, seq: int, worker: str, message: Message, due_at: Timestamp) -> bool:
        changed = await self._change(
            "UPDATE outbox SET worker = NULL, due_at = $1, body = $2 WHERE seq = $3 AND worker = $4",
            due_at, _encode(message).decode(), seq, worker,
        )  # fmt: skip
        return changed == 1

    async def drop_message(self, seq: int, worker: str) -> bool:
        return await self._change("DELETE FROM outbox WHERE seq = $1 AND worker = $2", seq, worker) == 1

    async def messages(self, limit: int) -> Sequence[KeptMessage]:
        found = await self._all(f"{_READ} ORDER BY seq LIMIT $1", limit)
        return list(map(_read, found))

    async def count_messages(self) -> int:
        return int((await self._one("SELECT count(*) FROM outbox"))[0])

    async def next_message_due(self) -> Timestamp | None:
        due: Timestamp | None = (await self._one(f"SELECT min(due_at) FROM outbox WHERE {_FIRST}"))[0]  # noqa: S608
        return due


def _read(row: Any) -> KeptMessage:
    seq, channel, body, holder = row
    return KeptMessage(seq, channel, _decoder.decode(body), interrupted=holder is not None)
