"""Lists of modes of which an entry never decides: its window never opens again, or another entry stands before it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from remediator.document import Path
from remediator.model.time import Timestamp
from remediator.review.codes import Code

Entry: TypeAlias = tuple[str | None, str]  # the name of a window, None: at any time; and the mode


class Opens(Protocol):
    """What is asked of a window."""

    def opens_after(self, now: Timestamp, /) -> bool:
        """Tell whether it holds at any moment from now on."""


class Idle(NamedTuple):
    """An entry that never decides."""

    path: Path  # below the list
    code: Code
    message: str


def idle_entries(entries: Sequence[Entry], windows: Mapping[str, Opens], now: Timestamp) -> Iterator[Idle]:
    """Give the entries of a list that never decide, in their order."""
    before: set[str | None] = set()
    for number, (during, mode) in enumerate(entries):
        window = windows.get(during) if during is not None else None
        if before & {None, during}:
            above = "always" if None in before else f"whenever `{during}` does"
            message = f"an entry before this one holds {above}, so that `{mode}` never has its turn: put this one first"
            yield Idle((number,), Code.NEVER_IN_TURN, message)
        elif window is not None and not window.opens_after(now):
            message = f"the window `{during}` never opens again, so that `{mode}` never holds"
            yield Idle((number, "during"), Code.NEVER_OPEN, message)
        before.add(during)
