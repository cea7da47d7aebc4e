"""The embedded store: its file, its lock, and how it fails closed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from samples import episode, event

from remediator.errors import StoreError, StoreForeign, StoreLocked
from remediator.store.opening import Seat
from remediator.store.protocol import Transaction
from remediator.store.sqlite import audit, open_store


@pytest.mark.fault("two daemons on one SQLite file", store="sqlite")
async def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    """The lock is the kernel's: it goes with the process, and nothing stale is left."""
    first = open_store(tmp_path / "s.db")
    with pytest.raises(StoreLocked, match="another daemon"):
        open_store(tmp_path / "s.db")
    await first.close()
    await open_store(tmp_path / "s.db").close()


async def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    """After kill -9 the next daemon starts at once."""
    script = (
        "import asyncio, os, signal, sys; from pathlib import Path; from remediator.store.sqlite import open_store\n"
        "async def main():\n"
        "    store = open_store(Path(sys.argv[1]))\n"
        "    await store.transact(lambda tx: tx.keep_rules({'h': {}}, 1.0))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "s.db")], check=False, timeout=30)
    assert ended.returncode == -9
    store = open_store(tmp_path / "s.db")
    assert await store.view(lambda tx: tx.rule_definition("h")) == {}
    await store.close()


@pytest.mark.fault("corrupt or foreign file", store="sqlite")
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Somebody's database, a text, a damaged file: never recreated."""
    theirs = tmp_path / "theirs.db"
    connection = sqlite3.connect(theirs)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("this is not a database, and it is long enough to look like one" * 20)
    for file in (theirs, text):
        before = file.read_bytes()
        with pytest.raises(StoreForeign):
            open_store(file)
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("folder", "is a folder: name a file in it"),
        ("text/s.db", r"text: File exists\): mend its folder, or name another file"),
        ("folder/s.db", r"s.db.lock: Is a directory\): mend its folder, or name another file"),
    ],
)
def test_a_place_that_can_hold_no_store_is_refused_in_words(tmp_path: Path, place: str, why: str) -> None:
    """And nothing is left there."""
    (tmp_path / "folder" / "s.db.lock").mkdir(parents=True)
    (tmp_path / "text").write_text("a text")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreForeign, match=why):
        open_store(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_state_folder_that_can_not_be_used_is_refused_in_words(tmp_path: Path) -> None:
    """As the store's own file is."""
    (tmp_path / "text").write_text("a text")
    with pytest.raises(StoreForeign, match=r"text: File exists\): mend it, or name another one as `state`"):
        Seat(tmp_path / "text")


@pytest.mark.fault("versions N and N+1", store="sqlite")
async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older daemon doesn't guess at what a newer one wrote."""
    await open_store(tmp_path / "s.db").close()
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreForeign, match="schema 999"):
        open_store(tmp_path / "s.db")


@pytest.mark.fault("file deleted or read-only while running", store="sqlite")
async def test_a_store_whose_file_is_removed_promises_nothing(tmp_path: Path) -> None:
    """What would be written to a deleted file is lost: fail closed."""
    store = open_store(tmp_path / "s.db")
    (tmp_path / "s.db").unlink()
    with pytest.raises(StoreError, match="removed or replaced"):
        await store.transact(lambda tx: tx.append([event(1)]))
    assert store.broken
    await store.close()


async def test_the_file_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    """It holds label values and the output of programs."""
    store = open_store(tmp_path / "s.db")
    assert ((tmp_path / "s.db").stat().st_mode & 0o777) == 0o600
    await store.close()


async def test_what_is_committed_survives_closing(tmp_path: Path) -> None:
    """The chain goes on where it was."""
    for number in range(3):
        store = open_store(tmp_path / "s.db")
        await store.transact(lambda tx, number=number: tx.append([event(number)]))
        await store.close()
    report = audit(tmp_path / "s.db")
    assert (report.ok, report.events) == (True, 3)


async def test_a_script_that_waits_for_anything_else_is_a_defect(tmp_path: Path) -> None:
    """A transaction holds the writer: nothing in it may wait."""
    import asyncio

    async def script(tx: Transaction) -> None:
        await asyncio.sleep(0)

    store = open_store(tmp_path / "s.db")
    with pytest.raises(RuntimeError, match="waited"):
        await store.transact(script)
    await store.close()


async def test_views_see_what_is_committed_and_cannot_write(tmp_path: Path) -> None:
    """The reading connection is read-only, so that it can never checkpoint beside the writer."""
    store = open_store(tmp_path / "s.db")
    await store.transact(lambda tx: tx.save_episodes([episode(1)], [], []))
    assert len(await store.view(lambda tx: tx.firing())) == 1
    with pytest.raises(StoreError):
        await store.view(lambda tx: tx.save_episodes([episode(2)], [], []))
    await store.close()
