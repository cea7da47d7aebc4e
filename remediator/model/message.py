"""Messages: notifications that could not be sent, and are kept until they are."""

from __future__ import annotations

from typing import Any

import msgspec

from remediator.model.time import Seconds, Timestamp


class Message(msgspec.Struct, frozen=True):
    """One use of an action that notifies, to be made when its platform can be reached again."""

    uses: str
    parameters: Any  # as rendered, secrets by name
    says: str  # the action's own sentence: what would be told
    run: str  # whose step it was
    rule: str
    confidential: bool  # the rule's: no other channel is told what it says
    repeatable: bool  # sending it twice is the same as once
    timeout: Seconds
    kept_at: Timestamp
    error: str | None  # why it could not be sent the last time
    attempts: int = 1
    told: bool = False  # the second channel has been told of it


class KeptMessage(msgspec.Struct, frozen=True):
    """A message in its place in the outbox."""

    seq: int  # the order in which they were to be sent
    channel: str  # within which that order holds
    message: Message
    interrupted: bool = False  # whoever was sending it has not said what became of it
