"""The commands about the history: what they print, write and exit with."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from cli.keyboard import run
from stage import Stage

STORE = "state/remediator.db"


@pytest.fixture
async def _history(stage: Stage) -> None:
    """Have a history, in a store that a daemon holds."""
    await stage.fires(app="web")
    Path("remediator.yml").write_text(f"store: sqlite:///{stage.store.path}\n")


def test_verify_needs_a_store_and_finds_one_that_is_new_to_hold() -> None:
    """A history without events holds; one that isn't there does not."""
    assert run("audit", "verify").exit_code == 1
    assert run("migrate").exit_code == 0
    document = json.loads(run("audit", "verify", "-o", "json").stdout)
    root = {"chain": "local", "number": 0, "hash": "0" * 64}
    assert document == {
        "ok": True, "events": 0, "head": "0" * 64, "problems": [], "checkpoints": [root], "heads": [root],
    }  # fmt: skip


@pytest.mark.usefixtures("_history")
def test_verify_says_how_far_the_history_holds_and_asks_for_a_head() -> None:
    """Exit 0 while it holds, 1 when it does not, 2 for a head that can't be one."""
    found = run("audit", "verify", "-o", "json")
    document = json.loads(found.stdout)
    assert (found.exit_code, document["ok"], document["problems"]) == (0, True, [])
    events, head = document["events"], document["head"]
    assert events > 0
    told = run("audit", "verify", "--head", head)
    assert (told.exit_code, told.stdout) == (0, f"the chain holds: {events} events, head {head}\n")
    told = run("audit", "verify", "--head", "f" * 64)
    assert (told.exit_code, "no event has the hash ffff" in told.stdout, "BROKEN" in told.stdout) == (1, True, True)
    assert not json.loads(run("audit", "verify", "--head", "f" * 64, "-o", "json").stdout)["ok"]
    told = run("audit", "verify", "--head", head[:-1])
    assert (told.exit_code, "was it copied whole?" in told.stderr, told.stdout) == (2, True, "")


def test_verify_says_where_a_pruned_history_begins() -> None:
    """Else a beginning that was taken away and passed off as pruned would go unnoticed."""
    assert run("migrate").exit_code == 0
    connection = sqlite3.connect(STORE)
    connection.execute("INSERT INTO meta VALUES ('base_seq', '7'), ('base_hash', ?)", ("a" * 64,))
    connection.commit()
    connection.close()
    told = run("audit", "verify")
    assert f"chain local: pruned up to event 7, then 0 events, head {'a' * 64}\n" in told.stdout
