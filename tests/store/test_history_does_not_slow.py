"""What a decision asks of the store costs the same whatever its past: counted in SQLite's own steps, not in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from samples import NOW, admitted, episode

from remediator.model.books import Allowance, Question, Touched
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Mode, Reason, State
from remediator.model.story import Story
from remediator.store.protocol import Decided, RunFilter, Transaction
from remediator.store.sqlite import open_store
from remediator.store.sqlite.store import connect, drive
from remediator.store.sqlite.transaction import SqliteTransaction

_SPAN = NOW - 60  # everything that is kept is from before it


def _question(book: Book) -> Question:
    allowances = (Allowance(3, 60), Allowance(3, 60, "restart"), Allowance(3, 60, "restart", "app1"))
    touched = (Touched(_SPAN), Touched(_SPAN, "restart"))
    return Question(
        "me", "restart", "app1", book, allowances=allowances, touched=touched, episodes_since=_SPAN, lock="x"
    )


ASKED: Mapping[str, Callable[[Transaction], Awaitable[Any]]] = {
    "books of a live run": lambda tx: tx.books(_question(Book.LIVE)),
    "books of a dry run": lambda tx: tx.books(_question(Book.DRY)),
    "books of a drill": lambda tx: tx.books(_question(Book.DRILL)),
    "failures": lambda tx: tx.failures(_SPAN, "restart", Book.DRY),
    "begun_at": lambda tx: tx.begun_at(200, _SPAN),
    "count_open": lambda tx: tx.count_open([f"{1:016x}"]),
    "open_run": lambda tx: tx.open_run("restart", "app1"),
    "waiting_revert": lambda tx: tx.waiting_revert("restart", "app1", drill=False),
    "runs_of": lambda tx: tx.runs_of([1, 2]),
    "release_deferred": lambda tx: tx.release_deferred("restart", "app1"),
    "name_target": lambda tx: tx.name_target("nobody", "app1"),
    "second_chances": lambda tx: tx.second_chances(_SPAN, 100),
    "last_lifted": lambda tx: tx.last_lifted(ControlKind.BREAKER, "restart", Book.LIVE),
    "wake_held": lambda tx: tx.wake_held(NOW),
    "runs that ended since": lambda tx: tx.runs(RunFilter(ended_since=_SPAN)),
    "next_due": lambda tx: tx.next_due(),
}


def _past(number: int) -> Story:
    """Make one of many runs of every kind, each a minute after the one before it; the newest is well before the span."""
    at = NOW - 3600 * 24 * 90 + number * 60
    ends = ({}, {"failed_at": at + 1, "state": State.FAILED}, {"state": State.BLOCKED, "reason": Reason.STORM})
    changes: dict[str, Any] = {"target": f"app{number % 2}", **ends[number % 3]}
    book = number // 6 % 3
    story = admitted(number, at, mode=Mode.DRY_RUN if book == 1 else Mode.AUTO, drill=book == 2, **changes)
    return replace(story, alert=episode(number, first_seen=at, ended_at=at + 1))


async def _steps(path: Path, length: int) -> dict[str, int]:
    """Count SQLite's steps for each question, in tens, over so long a history."""
    stories = [_past(number) for number in range(1, length + 1)]

    async def fill(tx: Transaction) -> None:
        await tx.save_episodes([each.alert for each in stories], [], [])
        await tx.add(stories)
        await tx.add_decisions(
            [Decided(each.alert.id, "restart", each.run.id, NOW, each.run.target) for each in stories]
        )
        for number in range(length // 10):
            laid = Control(
                f"c{number}", ControlKind.BREAKER, NOW, "remediator", "", rule="restart", lifted_at=NOW + number
            )
            await tx.lay(laid)

    store = open_store(path)
    await store.transact(fill)
    await store.close()
    steps: dict[str, int] = {}
    with closing(connect(path.as_uri())) as connection:
        for name, ask in ASKED.items():
            steps[name] = 0

            def count(name: str = name) -> None:
                steps[name] += 1

            connection.set_progress_handler(count, 10)
            drive(ask, SqliteTransaction(connection))
            connection.set_progress_handler(None, 10)
    return steps


async def test_what_a_decision_asks_costs_the_same_over_ten_times_the_history(tmp_path: Path) -> None:
    """Each question walks an index from its end, and stops."""
    short, long = await _steps(tmp_path / "short.db", 300), await _steps(tmp_path / "long.db", 3000)
    slower = {name: (short[name], long[name]) for name in ASKED if long[name] > short[name] + 3}
    assert not slower
