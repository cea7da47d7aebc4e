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


@pytest.mark.usefixtures("_history")
def test_export_writes_json_lines_that_verify() -> None:
    """To standard output or to a file; to the same head."""
    head = json.loads(run("audit", "verify", "-o", "json").stdout)["head"]
    printed = run("audit", "export")
    assert printed.exit_code == 0
    first, *events = map(json.loads, printed.stdout.splitlines())
    assert first["checkpoints"][0]["number"] == 0
    assert events[-1]["hash"] == head
    told = run("audit", "export", "--out", "kept.jsonl")
    assert (told.exit_code, f"{len(events)} events in kept.jsonl" in told.stdout) == (0, True)
    assert Path("kept.jsonl").read_text() == printed.stdout
    assert Path("kept.jsonl").stat().st_mode & 0o777 == 0o600
    assert run("audit", "verify", "kept.jsonl", "--head", head).exit_code == 0
    Path("kept.jsonl").write_text(printed.stdout.replace('"alerts":1', '"alerts":2'))
    assert run("audit", "verify", "kept.jsonl").exit_code == 1


@pytest.mark.usefixtures("_history")
def test_export_as_json_is_one_document() -> None:
    """Of the same lines; about a file it says what is in it."""
    lines = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]
    document = json.loads(run("audit", "export", "-o", "json").stdout)
    assert document == {**lines[0], "events": lines[1:]}
    about = json.loads(run("audit", "export", "--out", "kept.jsonl", "-o", "json").stdout)
    assert about == {"file": "kept.jsonl", "events": len(lines) - 1}


def test_an_empty_history_is_exported_too() -> None:
    """As a document and as lines."""
    assert run("migrate").exit_code == 0
    assert json.loads(run("audit", "export", "-o", "json").stdout)["events"] == []
    assert run("audit", "export", "--out", "kept.jsonl").stdout.startswith("0 events in kept.jsonl")
    assert run("audit", "verify", "kept.jsonl").exit_code == 0


def test_export_replaces_no_file_and_leaves_no_half_of_one() -> None:
    """What is there may be the only copy of what it holds; what was cut short would verify."""
    assert run("migrate").exit_code == 0
    Path("kept.jsonl").write_text("evidence")
    told = run("audit", "export", "--out", "kept.jsonl")
    assert (told.exit_code, "name another file" in told.stderr) == (1, True)
    assert Path("kept.jsonl").read_text() == "evidence"
    told = run("audit", "export", "--out", "nowhere/kept.jsonl")
    assert (told.exit_code, "nothing was exported" in told.stderr) == (1, True)
    connection = sqlite3.connect(STORE)
    connection.execute("INSERT INTO events VALUES (1, NULL, 'nothing', 'x')")
    connection.commit()
    connection.close()
    told = run("audit", "export", "--out", "other.jsonl")
    assert (told.exit_code, "is not what a daemon writes" in told.stderr) == (1, True)
    assert sorted(each.name for each in Path().glob("*.jsonl*")) == ["kept.jsonl"]
