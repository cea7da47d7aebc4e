"""An exported history: byte for byte what was hashed, verified without the store, and no easier to change than the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import NOW, event

from remediator.errors import StoreError
from remediator.model.run import Event, EventKind
from remediator.store.chain import GENESIS, Head, Link, line_of, link_hash
from remediator.store.export import audit_export, export_lines
from remediator.store.sqlite import audit, export, open_store

# Whatever JSON could be written in two ways.
ODD = {
    "float": 1.0,
    "small": 1e-7,
    "big": 2**63,
    "text": 'é "\\/\x7f\u2028 <b>',
    "none": None,
    "order": {"b": 1, "a": [[]]},
}


async def exported(folder: Path, *events: Event) -> Path:
    """Write events to a store, and export it beside the daemon that has it."""
    store = open_store(folder / "s.db")
    await store.transact(lambda tx: tx.append(events or [event(n, f"run{n}") for n in range(5)]))
    lines = list(export(folder / "s.db"))
    await store.close()
    (folder / "export").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder / "export"


def of_two_replicas(folder: Path, *, seen: str | None = None) -> Path:
    """Export a history of two chains, of which the second has seen the first one's head."""
    links: list[Link] = []
    for seq, name in enumerate("aab"):
        mine = [link for link in links if link.chain == name]
        head = {"chain": "a", "number": 2, "hash": seen or links[-1].hash} if name == "b" else {}
        line = line_of(Event(NOW, EventKind.ANCHORED if head else EventKind.LOST, None, head or {"number": seq}))
        links.append(Link(name, len(mine) + 1, None, line, link_hash(mine[-1].hash if mine else GENESIS, line)))
    heads = [Head("a", 0, GENESIS), Head("b", 0, GENESIS)]
    (folder / "export").write_bytes(b"\n".join(export_lines(heads, enumerate(links, 1))))
    return folder / "export"


async def test_an_export_says_what_the_store_says_line_by_line(tmp_path: Path) -> None:
    """The first line is where it begins, every other one is an event."""
    first, *rest = map(json.loads, (await exported(tmp_path, event(1, "r1"), event(2))).read_text().splitlines())
    assert first == {"checkpoints": [{"chain": "local", "number": 0, "hash": GENESIS}]}
    assert [list(each) for each in rest] == [["seq", "chain", "number", "at", "kind", "run", "data", "hash"]] * 2
    assert [each["run"] for each in rest] == ["r1", None]
    assert rest[0] == {
        "seq": 1, "chain": "local", "number": 1, "at": NOW + 1, "kind": "notification.received", "run": "r1",
        "data": {"number": 1}, "hash": rest[0]["hash"],
    }  # fmt: skip


async def test_p8_an_export_verifies_without_the_store(tmp_path: Path) -> None:
    """To the same head, whatever the events hold."""
    file = await exported(tmp_path, event(1), Event(NOW + 0.1, EventKind.LOST, "r1", ODD), event(2))
    expected = audit(tmp_path / "s.db")
    (tmp_path / "s.db").unlink()
    assert audit_export(file) == expected
    assert expected.ok
    assert audit_export(file, expected.head).ok


async def test_p8_an_export_of_a_pruned_history_begins_at_its_checkpoint(tmp_path: Path) -> None:
    """And is as good."""
    await exported(tmp_path)
    store = open_store(tmp_path / "s.db")
    await store.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + 3))
    await store.close()
    report = audit_export(await exported(tmp_path, event(9)))
    assert (report.ok, report.events, report.checkpoints[0].number) == (True, 3, 3)


def _moved(lines: list[str]) -> list[str]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: [line.replace('"number":3}', '"number":7}') for line in lines], "event 4 of chain local"),
        (lambda lines: [line.replace('"run":"run2"', '"run":"run3"') for line in lines], "event 3 of chain local"),
        (lambda lines: [line.replace('"run":"run2"', '"run":3') for line in lines], "line 4 is no event of an export"),
        (lambda lines: [line.replace('"at":', '"at":1') for line in lines], "event 1 of chain local"),
        (lambda lines: [*lines[:2], *lines[3:]], "event 2 of chain local is missing"),
        (lambda lines: [lines[0], *lines[2:]], "event 1 of chain local is missing"),
        (_moved, "event 1 of chain local is missing"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], "event 3 of chain local is missing: after 2 comes 2"),
        (lambda lines: [lines[0].replace("000", "001"), *lines[1:]], "event 1 of chain local does not follow"),
        (lambda lines: [lines[0].replace('"number":0', '"number":1'), *lines[1:]], "event 2 of chain local is missing"),
        (lambda lines: [*lines[:3], "{", *lines[3:]], "line 4 is no event of an export"),
        (lambda lines: [*lines[:5], lines[5][:50]], "line 6 is no event of an export"),
    ],
    ids=[
        "edited", "other run", "no run", "other time", "deleted", "first deleted", "swapped", "doubled", "root edited",
        "checkpoint edited", "no JSON", "cut within a line",
    ],
)  # fmt: skip
async def test_p8_a_changed_export_is_found(
    tmp_path: Path, change: Callable[[list[str]], list[str]], told: str
) -> None:
    """As in the store."""
    file = await exported(tmp_path)
    file.write_text("\n".join(change(file.read_text().splitlines())))
    assert told in audit_export(file).problems[0]


async def test_p8_an_export_that_was_cut_off_is_found_against_a_head_that_was_noted(tmp_path: Path) -> None:
    """And only so."""
    file = await exported(tmp_path)
    head = audit_export(file).head
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert audit_export(file).ok
    assert not audit_export(file, head).ok


def test_p8_what_another_chain_has_seen_is_compared_in_an_export_too(tmp_path: Path) -> None:
    """Read again for it: the event that was seen comes before the one that has seen it."""
    assert audit_export(of_two_replicas(tmp_path)).ok
    (problem,) = audit_export(of_two_replicas(tmp_path, seen="f" * 64)).problems
    assert "event 1 of chain b has seen event 2 of chain a" in problem


@pytest.mark.parametrize("text", ["", "{}", "not JSON", '{"checkpoints":3}'])
def test_a_file_that_is_no_export_is_not_called_a_history_that_holds(tmp_path: Path, text: str) -> None:
    """It says what would be one."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(StoreError, match="no exported history"):
        audit_export(tmp_path / "file")
    with pytest.raises(StoreError, match="can't be read"):
        audit_export(tmp_path / "nowhere")


def test_a_line_that_no_daemon_writes_is_not_exported_as_if_it_were_one() -> None:
    """The export stops, and says where the evidence is."""
    with pytest.raises(StoreError, match="event 1 of chain a is not what a daemon writes"):
        list(export_lines([], [(1, Link("a", 1, None, "nothing", "x"))]))
