"""Files of earlier versions are opened and go on where they were."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from samples import NOW

from remediator.errors import StoreForeign
from remediator.model.books import Allowance, Ending, Question
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Mode, Origin, Reason, Run, State
from remediator.store.migrations import migrations
from remediator.store.protocol import RunFilter, Transaction
from remediator.store.sqlite import open_store
from remediator.store.sqlite.file import APPLICATION_ID

# A run as version 1 wrote it.
RUN: dict[str, Any] = {
    "id": "", "rule": "restart", "rule_hash": "h", "state": "waiting", "created_at": NOW, "opened_by": 1, "priority": "P2",
    "target": "app1", "mode": "auto", "reason": None, "because": None, "plan": None, "plan_hash": None,
    "admitted_at": None, "started_at": None, "ended_at": None, "healed_at": None, "lock": None, "wrote": False,
    "refused_since": None, "ending": None, "phase": "facts", "verify_since": None, "poll": 0, "poll_at": None,
    "paused_since": None, "paused_for": 0.0, "good_since": None, "due_at": None, "fence": 3, "rung": 0, "drill": False,
}  # fmt: skip
ENDED = {"admitted_at": NOW, "started_at": NOW, "ended_at": NOW + 1}
RUNS: list[dict[str, Any]] = [
    RUN | {"id": "r1", "due_at": NOW, "reason": "for"},
    RUN | {"id": "r2", "target": "app2", "state": "running", "lock": "app2"} | ENDED | {"ended_at": None},
    RUN | {"id": "r3", "target": "app3", "state": "unknown", "reason": "interrupted"} | ENDED | {"ended_at": None},
    RUN | {"id": "r4", "state": "succeeded"} | ENDED,
    RUN | {"id": "r5", "state": "failed", "reason": "verify"} | ENDED | {"admitted_at": NOW + 10, "ended_at": NOW + 11},
    RUN | {"id": "r6", "state": "planned", "mode": "dry-run"} | ENDED | {"admitted_at": NOW + 20, "ended_at": NOW + 21},
    RUN | {"id": "r7", "state": "blocked", "reason": "cooldown", "ended_at": NOW + 30},
    RUN | {"id": "r8", "target": None, "state": "cancelled", "reason": "resolved", "ended_at": NOW + 40},
]
CONTROLS: list[dict[str, Any]] = [
    {
        "id": "c1", "kind": "pause", "laid_at": NOW, "author": "ann", "reason": "deploy", "rule": "restart", "target": None,
        "run": None, "outcome": None, "until": None, "lifted_at": None, "lifted_by": None,
    },
    {
        "id": "c2", "kind": "pause", "laid_at": NOW, "author": "ann", "reason": "", "rule": "restart", "target": None,
        "run": None, "outcome": None, "until": None, "lifted_at": NOW + 5, "lifted_by": "bob",
    },
    {
        "id": "c3", "kind": "resolve", "laid_at": NOW, "author": "ann", "reason": "", "rule": None, "target": None,
        "run": "r3", "outcome": "failed", "until": None, "lifted_at": None, "lifted_by": None,
    },
]  # fmt: skip
STEP = {
    "phase": "steps", "position": 0, "item": 0, "attempt": 1, "uses": "exec.run", "id": "restart", "state": "started",
    "started_at": NOW, "ended_at": None, "result": None, "error": None, "refuted": False, "repeatable": False,
    "unsent": False, "parameters": None, "items": None, "rung": 0,
}  # fmt: skip
TOLD = {"labels": {"alertname": "Down"}, "annotations": {}}


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A file as version 1 left it, with a row of each kind."""
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executescript(dict(migrations("sqlite"))[1])
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO notifications VALUES (1, 'n1', ?, x'7b7d')", (NOW,))
        connection.execute(
            "INSERT INTO episodes VALUES (1, 'f1', 'Down', ?, ?, ?, NULL, 0, ?)", (NOW, NOW, NOW, json.dumps(TOLD))
        )
        connection.executemany("INSERT INTO decisions VALUES (1, ?, ?, 'app1', ?)", [("restart", "r1", NOW)])
        columns = "id, rule, target, state, reason, dry, priority, admitted_at, started_at, ended_at, lock"
        connection.executemany(
            f"INSERT INTO runs ({columns}, worker, due_at, fence, body) VALUES ({'?, ' * 14}?)",  # noqa: S608
            [
                (
                    *(run["mode"] == "dry-run" if name == "dry" else run[name] for name in columns.split(", ")),
                    "w" if run["state"] == "running" else None,
                    run["due_at"],
                    run["fence"] + 1,
                    json.dumps(run),
                )
                for run in RUNS
            ],
        )
        connection.execute("INSERT INTO steps VALUES ('r2', 0, 'steps', 0, 0, ?)", (json.dumps(STEP),))
        connection.executemany(
            "INSERT INTO controls VALUES (?, ?, ?, ?, ?, ?)",
            [(*(each[n] for n in ("id", "kind", "run", "until", "lifted_at")), json.dumps(each)) for each in CONTROLS],
        )
        connection.execute("INSERT INTO rules VALUES ('h', ?, '{}')", (NOW,))
        connection.execute("INSERT INTO events VALUES (1, NULL, '[1.0, \"x\", null, {}]', 'hash')")
        connection.commit()
    return path


async def test_the_runs_of_version_1_are_read_as_live_or_dry_ones_that_alerts_opened(version_1: Path) -> None:
    """Nothing of them is lost, and what is new has its default."""
    store = open_store(version_1)
    runs = {each.id: each for each in await store.view(lambda tx: tx.runs(RunFilter()))}
    assert runs.keys() == {each["id"] for each in RUNS}
    assert runs["r1"] == Run(
        id="r1", rule="restart", rule_hash="h", state=State.WAITING, created_at=NOW, opened_by=1, target="app1",
        reason=Reason.FOR, due_at=NOW, fence=4,
    )  # fmt: skip
    assert {each.origin for each in runs.values()} == {Origin.ALERT}
    assert [name for name, each in runs.items() if each.book is not Book.LIVE] == ["r6"]
    running = await store.view(lambda tx: tx.run("r2"))
    assert running is not None
    assert (running.alert.labels, [step.uses for step in running.steps]) == ({"alertname": "Down"}, ["exec.run"])
    await store.close()


async def test_the_books_of_version_1_go_on(version_1: Path) -> None:
    """What was admitted, how it ended, what failed, what is open and held."""

    async def look(tx: Transaction) -> None:
        for book, full_since, failures, holder in (
            (Book.LIVE, NOW + 10, 1, "r2"),
            (Book.DRY, NOW + 20, 1, "r2"),
            (Book.DRILL, None, 0, None),
        ):
            asked = Question("me", "restart", "app1", book, allowances=(Allowance(1, 60),), lock="app2")
            books = await tx.books(asked)
            assert (books.full_since, books.lock_holder) == ((full_since,), holder)
            assert await tx.failures(NOW, None, book) == failures
        books = await tx.books(Question("me", "restart", "app1", episodes_since=NOW - 1))
        assert (books.last, books.last_good) == (Ending(NOW + 11, good=False), Ending(NOW + 1, good=True))
        assert (books.episodes, books.at_work) == (1, 1)
        there = await tx.open_run("restart", "app1")
        assert there is not None
        assert there.id == "r1"

    store = open_store(version_1)
    await store.view(look)
    await store.close()


async def test_the_rest_of_version_1_goes_on(version_1: Path) -> None:
    """Leases pass on, controls are in force, the chain is continued."""
    store = open_store(version_1)
    assert await store.transact(lambda tx: tx.take_over(NOW, None)) == ["r2"]
    claimed = await store.transact(lambda tx: tx.claim("w", NOW, NOW + 60, 10))
    assert {each.run.id: each.run.fence for each in claimed} == {"r1": 5, "r2": 6}
    await store.transact(lambda tx: tx.save(claimed[0].with_run(mode=Mode.DRY_RUN), "w", None))
    laid = await store.view(lambda tx: tx.controls(NOW, "r3"))
    assert laid[0] == Control("c1", ControlKind.PAUSE, NOW, "ann", "deploy", rule="restart")
    assert [(each.id, each.outcome) for each in laid] == [("c1", None), ("c3", State.FAILED)]
    lifted = [
        await store.view(lambda tx, r=r: tx.last_lifted(ControlKind.PAUSE, r, Book.LIVE)) for r in ("restart", None)
    ]
    assert lifted == [NOW + 5, None]
    assert await store.view(lambda tx: tx.timers()) == []
    head = await store.view(lambda tx: tx.head())
    assert head is not None
    assert head.seq == 1
    await store.close()


async def test_an_older_file_is_left_alone_where_it_may_not_be_migrated(version_1: Path) -> None:
    """The operator is told what to run."""
    before = version_1.read_bytes()
    with pytest.raises(StoreForeign, match="run `remediator migrate`"):
        open_store(version_1, migrate=False)
    assert version_1.read_bytes() == before


async def test_a_migration_that_is_broken_off_leaves_the_version_before(
    version_1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one transaction, and the next start takes it again."""
    broken = [(1, ""), (2, dict(migrations("sqlite"))[2] + "; BROKEN")]
    monkeypatch.setattr("remediator.store.sqlite.file.migrations", lambda kind: broken)
    with pytest.raises(StoreForeign, match="BROKEN"):
        open_store(version_1)
    monkeypatch.undo()
    store = open_store(version_1)
    assert len(await store.view(lambda tx: tx.runs(RunFilter()))) == len(RUNS)
    await store.close()
