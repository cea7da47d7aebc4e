"""The outbox: messages stay in the order of their channel, and each is with one sender at a time."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from samples import NOW

from remediator.model.message import Message
from remediator.store.protocol import Store


def message(says: str, **changes: Any) -> Message:
    """Make a message."""
    made = Message("slack.post", {"text": says}, says, "r1", "mend", False, False, 10.0, NOW, "no answer")
    return replace(made, **changes)


async def keep(store: Store, *kept: tuple[str, str, float]) -> None:
    """Keep some: channel, what it says, when it is due."""
    for channel, says, due_at in kept:
        await store.transact(lambda tx, c=channel, s=says, d=due_at: tx.keep_message(c, message(s), d))


async def claimed(store: Store, now: float, worker: str = "me") -> list[str]:
    """Lease what is due, and tell what it says."""
    return [
        ("!" if each.interrupted else "") + each.message.says
        for each in await store.transact(lambda tx: tx.claim_messages(worker, now, now + 60))
    ]


async def test_only_the_first_of_a_channel_is_due(store: Store) -> None:
    """However long the others have waited."""
    await keep(store, ("slack", "a", NOW + 10), ("slack", "b", NOW), ("mail", "c", NOW))
    assert await store.view(lambda tx: tx.count_messages()) == 3
    assert await store.view(lambda tx: tx.next_message_due()) == NOW
    assert await claimed(store, NOW) == ["c"]
    assert await claimed(store, NOW + 10) == ["a"]
    assert await claimed(store, NOW + 11) == []
    assert await store.view(lambda tx: tx.next_message_due()) == NOW + 60


async def test_what_is_sent_makes_room_for_the_next(store: Store) -> None:
    """A channel without messages lets others through at once."""
    await keep(store, ("slack", "a", NOW), ("slack", "b", NOW))
    (first,) = await store.transact(lambda tx: tx.claim_messages("me", NOW, NOW + 60))
    assert await store.transact(lambda tx: tx.drop_message(first.seq, "me"))
    assert await claimed(store, NOW) == ["b"]
    assert await store.view(lambda tx: tx.waits_for_outbox("slack"))
    assert not await store.view(lambda tx: tx.waits_for_outbox("mail"))


async def test_what_was_put_back_is_due_again_later(store: Store) -> None:
    """With what has become of it."""
    await keep(store, ("slack", "a", NOW))
    (first,) = await store.transact(lambda tx: tx.claim_messages("me", NOW, NOW + 60))
    tried = replace(first.message, attempts=2, told=True)
    assert await store.transact(lambda tx: tx.put_back_message(first.seq, "me", tried, NOW + 5))
    assert await claimed(store, NOW + 4) == []
    assert await claimed(store, NOW + 5) == ["a"]
    (again,) = await store.view(lambda tx: tx.messages(10))
    assert again.message == tried


async def test_what_a_dead_sender_had_is_found_interrupted_and_is_no_more_his(store: Store) -> None:
    """When his lease has run out."""
    await keep(store, ("slack", "a", NOW))
    (first,) = await store.transact(lambda tx: tx.claim_messages("late", NOW, NOW + 60))
    assert await claimed(store, NOW + 59) == []
    assert await claimed(store, NOW + 60) == ["!a"]
    assert not await store.transact(lambda tx: tx.drop_message(first.seq, "late"))
    assert not await store.transact(lambda tx: tx.put_back_message(first.seq, "late", first.message, NOW))
    assert len(await store.view(lambda tx: tx.messages(10))) == 1
