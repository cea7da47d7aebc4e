"""The history of the embedded store: every way of changing it afterwards is found, by itself or against a noted head (P8)."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from samples import NOW, event

from remediator.errors import StoreError
from remediator.model.run import Event, EventKind
from remediator.store.chain import GENESIS, Head, line_of, link_hash
from remediator.store.sqlite import audit, open_store

SWAP = """
CREATE TEMP TABLE two AS SELECT 5 - seq, run, line, hash FROM events WHERE seq IN (2, 3);
REPLACE INTO events SELECT * FROM two;
"""
INSERT = """
UPDATE events SET seq = -seq WHERE seq > 2;
UPDATE events SET seq = 1 - seq WHERE seq < 0;
INSERT INTO events SELECT 3, run, line, hash FROM events WHERE seq = 2;
"""


async def history(path: Path, count: int) -> str:
    """Write so many events, and give the head."""
    store = open_store(path)
    await store.transact(lambda tx: tx.append([event(n, f"run{n}") for n in range(count)]))
    head, _ = await store.view(lambda tx: tx.heads())
    await store.close()
    return head.hash


async def prune(path: Path, before: int) -> None:
    """Let retention forget the first events."""
    store = open_store(path)
    await store.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + before))
    await store.close()


def tamper(path: Path, sql: str) -> None:
    """Change the store behind the daemon's back."""
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.commit()
    connection.close()


def rewritten(path: Path, first: int) -> None:
    """Write the whole history anew, every hash of it right, with another first number in the data."""
    connection = sqlite3.connect(path)
    before = GENESIS
    for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq").fetchall():
        line = line_of(event(seq - 1 + first, f"run{seq - 1}"))
        before = link_hash(before, line)
        connection.execute("UPDATE events SET line = ?, hash = ? WHERE seq = ?", (line, before, seq))
    connection.commit()
    connection.close()


async def test_p8_an_untouched_history_verifies(tmp_path: Path) -> None:
    """Against a head that was noted, and without one."""
    head = await history(tmp_path / "s.db", 5)
    report = audit(tmp_path / "s.db")
    assert (report.ok, report.events, report.head) == (True, 5, head)
    assert report.heads == (Head("local", 5, head),)
    assert audit(tmp_path / "s.db", head).ok


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE events SET line = replace(line, '\"number\":2', '\"number\":7') WHERE seq = 3", "event 3"),
        ("UPDATE events SET line = line || ' ' WHERE seq = 3", "event 3"),
        ("UPDATE events SET run = 'other' WHERE seq = 3", "event 3 of chain local is filed under run other"),
        ("UPDATE events SET run = NULL WHERE seq = 3", "event 3 of chain local is filed under run None"),
        ("UPDATE events SET hash = 'x' WHERE seq = 5", "event 5"),
        ("DELETE FROM events WHERE seq = 3", "event 3 of chain local is missing: after 2 comes 4"),
        ("DELETE FROM events WHERE seq = 1", "event 1 of chain local is missing: after 0 comes 2"),
        ("DELETE FROM events WHERE seq IN (2, 3)", "event 2 of chain local is missing: after 1 comes 4"),
        ("UPDATE events SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3)", "missing"),
        (SWAP, "event 2 of chain local does not follow"),
        (
            "DELETE FROM events WHERE seq = 3; UPDATE events SET seq = seq - 1 WHERE seq > 3",
            "event 3 of chain local does not follow",
        ),
        (INSERT, "event 3 of chain local does not follow"),
        ("INSERT INTO events SELECT seq + 5, run, line, hash FROM events WHERE seq = 1", "event 6"),
        ("INSERT INTO meta VALUES ('base_seq', '2'), ('base_hash', 'x')", "event 3 of chain local is missing"),
        ("INSERT INTO meta VALUES ('base_hash', 'x')", "event 1 of chain local does not follow"),
    ],
    ids=[
        "edited", "blank added", "filed elsewhere", "filed nowhere", "hash edited", "deleted", "first deleted", "two deleted",
        "moved out", "swapped", "deleted and closed up", "inserted", "appended", "checkpoint invented", "root invented",
    ],
)  # fmt: skip
async def test_p8_a_changed_history_is_found(tmp_path: Path, sql: str, told: str) -> None:
    """Editing, deleting, reordering, inserting; the place is named."""
    await history(tmp_path / "s.db", 5)
    tamper(tmp_path / "s.db", sql)
    report = audit(tmp_path / "s.db")
    assert not report.ok
    assert told in report.problems[0]


@pytest.mark.parametrize(
    "sql", ["DELETE FROM events WHERE seq = 5", "DELETE FROM events WHERE seq > 2", "DELETE FROM events"]
)
async def test_p8_a_cut_off_history_is_found_against_a_head_that_was_noted(tmp_path: Path, sql: str) -> None:
    """The tail that is missing can't speak for itself: the noted head does."""
    head = await history(tmp_path / "s.db", 5)
    tamper(tmp_path / "s.db", sql)
    assert audit(tmp_path / "s.db").ok
    (problem,) = audit(tmp_path / "s.db", head).problems
    assert problem == f"no event has the hash {head}: the history was cut off or written anew since it was noted"


async def test_p8_a_history_written_anew_is_found_against_a_head_that_was_noted(tmp_path: Path) -> None:
    """All its hashes are right, and none of them is the one that was noted."""
    head = await history(tmp_path / "s.db", 5)
    rewritten(tmp_path / "s.db", 0)
    assert audit(tmp_path / "s.db", head).ok
    rewritten(tmp_path / "s.db", 1)
    assert audit(tmp_path / "s.db").ok
    assert "written anew" in audit(tmp_path / "s.db", head).problems[0]


async def test_p8_a_pruned_history_verifies_from_its_checkpoint(tmp_path: Path) -> None:
    """Retention is not tampering, whether it has left anything or not."""
    head = await history(tmp_path / "s.db", 5)
    for before, left in ((3, 2), (9, 0)):
        await prune(tmp_path / "s.db", before)
        report = audit(tmp_path / "s.db", head)
        assert (report.ok, report.events, report.head) == (True, left, head)
        assert [each.number for each in report.checkpoints] == [5 - left]


async def test_p8_the_chain_goes_on_from_a_checkpoint_that_left_nothing(tmp_path: Path) -> None:
    """The next event has the next number, and the hash of the last pruned one goes into it."""
    head = await history(tmp_path / "s.db", 5)
    await prune(tmp_path / "s.db", 9)
    await history(tmp_path / "s.db", 2)
    report = audit(tmp_path / "s.db", head)
    assert (report.ok, report.events, [each.number for each in report.heads]) == (True, 2, [7])


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE meta SET value = '1' WHERE key = 'base_seq'", "event 2 of chain local is missing: after 1 comes 4"),
        ("UPDATE meta SET value = '4' WHERE key = 'base_seq'", "event 5 of chain local is missing: after 4 comes 4"),
        ("UPDATE meta SET value = 'three' WHERE key = 'base_seq'", "names event 'three', which is no number"),
        ("UPDATE meta SET value = 'x' WHERE key = 'base_hash'", "event 4 of chain local does not follow"),
        ("DELETE FROM meta WHERE key = 'base_seq'", "event 1 of chain local is missing: after 0 comes 4"),
        ("DELETE FROM meta WHERE key = 'base_hash'", "event 4 of chain local does not follow"),
        ("DELETE FROM meta WHERE key LIKE 'base_%'", "event 1 of chain local is missing: after 0 comes 4"),
        ("DELETE FROM events WHERE seq = 4", "event 4 of chain local is missing: after 3 comes 5"),
    ],
)  # fmt: skip
async def test_p8_a_changed_checkpoint_is_found(tmp_path: Path, sql: str, told: str) -> None:
    """What is left has to follow from it."""
    await history(tmp_path / "s.db", 5)
    await prune(tmp_path / "s.db", 3)
    tamper(tmp_path / "s.db", sql)
    report = audit(tmp_path / "s.db")
    assert not report.ok
    assert told in report.problems[0]


async def test_p8_a_beginning_that_was_passed_off_as_pruned_is_told_from_nothing_but_an_older_head(
    tmp_path: Path,
) -> None:
    """A checkpoint moved on along with the lines before it holds: the report says where the history begins now."""
    old = await history(tmp_path / "s.db", 3)
    head = await history(tmp_path / "s.db", 2)
    tamper(
        tmp_path / "s.db",
        "INSERT INTO meta SELECT 'base_seq', '4' UNION SELECT 'base_hash', hash FROM events WHERE seq = 4;"
        "DELETE FROM events WHERE seq <= 4",
    )
    report = audit(tmp_path / "s.db", head)
    assert (report.ok, report.checkpoints[0].number) == (True, 4)
    assert "or retention has pruned that event" in audit(tmp_path / "s.db", old).problems[0]


async def test_a_published_head_that_retention_has_pruned_is_called_that(tmp_path: Path) -> None:
    """Not cut off: but neither can it be compared any more, so it is no proof."""
    head = await history(tmp_path / "s.db", 3)
    store = open_store(tmp_path / "s.db")
    await store.transact(lambda tx: tx.keep_head(Head("local", 3, head)))
    await store.close()
    await history(tmp_path / "s.db", 3)
    assert audit(tmp_path / "s.db", head).ok
    await prune(tmp_path / "s.db", 2)
    report = audit(tmp_path / "s.db", head)
    assert not report.ok
    assert "which event 3 of chain local had when it was published: pruned by retention" in report.problems[0]


async def test_p8_a_note_of_a_published_head_excuses_no_tail_that_was_cut_off(tmp_path: Path) -> None:
    """The note says which event it was, and that event should be there."""
    head = await history(tmp_path / "s.db", 5)
    tamper(tmp_path / "s.db", "INSERT INTO meta SELECT 'head:' || hash, '5' FROM events WHERE seq = 5")
    tamper(tmp_path / "s.db", "DELETE FROM events WHERE seq > 3")
    (problem,) = audit(tmp_path / "s.db", head).problems
    assert "when it was published: the history was cut off or written anew" in problem
    tamper(tmp_path / "s.db", "UPDATE meta SET value = 'x' WHERE key LIKE 'head:%'")
    (problem,) = audit(tmp_path / "s.db", head).problems
    assert problem.endswith("the history was cut off or written anew since it was noted")


async def test_a_history_that_cannot_be_read_is_no_history_that_holds(tmp_path: Path) -> None:
    """No file, or text that is none."""
    with pytest.raises(StoreError, match="does not exist"):
        audit(tmp_path / "s.db")
    await history(tmp_path / "s.db", 3)
    tamper(tmp_path / "s.db", "UPDATE events SET line = CAST(x'ff' AS TEXT) WHERE seq = 2")
    with pytest.raises(StoreError, match="can't be read"):
        audit(tmp_path / "s.db")


async def test_the_history_is_verified_beside_a_daemon_that_writes(tmp_path: Path) -> None:
    """In one snapshot: what is written meanwhile is not half seen."""
    store = open_store(tmp_path / "s.db")
    for number in range(3):
        await store.transact(lambda tx, number=number: tx.append([event(number)]))
        assert (audit(tmp_path / "s.db").ok, audit(tmp_path / "s.db").events) == (True, number + 1)
    await store.close()


@pytest.mark.slow
async def test_a_million_events_are_verified_within_seconds(tmp_path: Path) -> None:
    """A tenth of them has a tenth of 20 s of one core, some five times what it takes."""
    data = {"step": "restart", "uses": "exec.run", "result": {"code": 0, "lines": ["ok"] * 20}}
    events = [Event(NOW + number, EventKind.STEP_ENDED, f"run{number}", data) for number in range(100_000)]
    store = open_store(tmp_path / "s.db")
    await store.transact(lambda tx: tx.append(events))
    await store.close()
    began = time.process_time()
    report = audit(tmp_path / "s.db")
    took = time.process_time() - began
    assert (report.ok, report.events) == (True, 100_000)
    assert took < 2.0
