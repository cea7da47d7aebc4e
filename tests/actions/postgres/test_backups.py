"""Backups of a real database: made, listed, verified, damaged and found bad, pruned."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest
from postgres import OWNER, PASSWORD, programs
from pydantic import ValidationError

from remediator.actions.postgres.pruning import PruneParameters
from remediator.actions.postgres.shelf import BACKUP, BackupClass, name_of
from remediator.actions.protocol import Result

HOUR, DAY = 3600.0, 86400.0
SHOP = """CREATE TABLE orders (id int PRIMARY KEY, note text, created_at timestamptz NOT NULL);
INSERT INTO orders SELECT n, md5(n::text), now() - interval '2 hours' FROM generate_series(1, 2000) AS n;
CREATE TABLE customers (id int PRIMARY KEY);"""


@pytest.fixture
def shop(place):
    """Give a database with something in it."""
    place.server.run(SHOP, place.name, OWNER)
    return place


def backups(place) -> Path:
    """Give the folder."""
    return place.folder / "backups"


def shelve(
    folder: Path, ages: Iterable[float], kind: BackupClass = "hourly", *, checksum: bool = True, of: str = "main"
) -> list[str]:
    """Put files there that are called like backups of these ages."""
    names = [name_of(of, kind, time.time() - age) for age in ages]
    for name in names:
        (folder / name).write_bytes(b"x")
        if checksum:
            (folder / f"{name}.sha256").write_text(f"{sha256(b'x').hexdigest()}  {name}\n")
    return names


def scratches(place) -> str:
    """Give the scratch databases that there are."""
    return place.server.run("SELECT count(*) FROM pg_database WHERE datname LIKE 'remediator\\_scratch%'")


async def made(place, kind: BackupClass = "hourly") -> Path:
    """Make a backup, and give its file."""
    outcome = await place.use("backup", **{"class": kind})
    assert outcome.kind is Result.OK, outcome.error
    return backups(place) / outcome.result["name"]


def sealed(path: Path) -> None:
    """Make the checksum fit whatever is in the file."""
    Path(f"{path}.sha256").write_text(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


async def test_a_backup_is_whole_before_it_has_its_name(shop) -> None:
    """For our user alone, with its checksum, and nothing else is left there."""
    path = await made(shop)
    assert BACKUP.fits(path.name)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in backups(shop).iterdir()) == [path.name, f"{path.name}.sha256"]
    assert Path(f"{path}.sha256").read_text() == f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    listed = await shop.use("backup_list")
    assert listed.kind is Result.OK, listed.error
    (backup,) = listed.result["backups"]
    assert (backup["name"], backup["class"], backup["bytes"], backup["checksum"]) == (
        path.name,
        "hourly",
        path.stat().st_size,
        True,
    )
    assert 0 <= backup["age_s"] < 60
    assert (listed.result["count"], listed.result["newest_age_s"]) == (1, backup["age_s"])
    assert (listed.result["unfinished"], listed.result["others"]) == (0, 0)


async def test_a_second_backup_within_one_second_has_a_name_of_its_own(shop) -> None:
    """It waits for the next second, and what was there is left as it was."""
    there = shelve(backups(shop), [0, -1])  # of this second, and of the next
    path = await made(shop)
    assert path.name not in there
    assert [(backups(shop) / name).read_bytes() for name in there] == [b"x", b"x"]


async def test_a_good_backup_is_verified_by_restoring_it(shop) -> None:
    """And nothing of it stays on the server."""
    path = await made(shop)
    newest = {"table": "orders", "column": "created_at", "within": "3h"}
    outcome = await shop.use("verify_backup", tables={"orders": 2000, "public.customers": 0}, newest=newest)
    assert outcome.kind is Result.OK, outcome.error
    assert outcome.result["backup"] == path.name
    assert outcome.result["tables"] == {"orders": 2000, "public.customers": 0}
    assert 2 * HOUR <= outcome.result["newest_age_s"] < 3 * HOUR
    assert outcome.result["problems"] == []
    assert scratches(shop) == "0"


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def otherwise_sealed(path: Path) -> None:
    Path(f"{path}.sha256").write_text(f"{'0' * 64}  {path.name}\n")


def unsealed(path: Path) -> None:
    Path(f"{path}.sha256").unlink()


def sealed_for_another(path: Path) -> None:
    Path(f"{path}.sha256").write_text(f"{sha256(path.read_bytes()).hexdigest()}  another.dump\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flipped, "its checksum is another"),
        (truncated, "its checksum is another"),
        (otherwise_sealed, "its checksum is another"),
        (unsealed, "it has no checksum"),
        (sealed_for_another, "it has no checksum"),
    ],
)
async def test_a_damaged_backup_is_found_by_its_checksum(shop, damage, words: str) -> None:
    """Nothing is restored then."""
    damage(await made(shop))
    since = shop.server.log.stat().st_size
    outcome = await shop.use("verify_backup", tables={"orders": 1})
    assert outcome.kind is Result.REFUSED
    assert words in outcome.error
    assert words in outcome.result["problems"][0]
    assert [each for each in shop.server.statements(since) if "CREATE DATABASE" in each.sql] == []


@pytest.mark.parametrize(
    "damage", [truncated, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"PGDMP nonsense")]
)
async def test_a_backup_that_was_damaged_before_its_checksum_was_taken_can_not_be_restored(shop, damage) -> None:
    """The checksum fits, and yet it is found bad."""
    path = await made(shop)
    damage(path)
    sealed(path)
    outcome = await shop.use("verify_backup", tables={"orders": 1})
    assert outcome.kind is Result.REFUSED, outcome.error
    assert "it can't be restored: pg_restore" in outcome.error
    assert scratches(shop) == "0"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DROP TABLE orders", "the table orders is not in it"),
        ("DELETE FROM orders WHERE id > 10", "the table orders has 10 rows, and should have 2000 or more"),
        ("TRUNCATE orders", "the table orders has 0 rows"),
        ("UPDATE orders SET created_at = now() - interval '5 days'", "the newest orders.created_at is 5d"),
        ("ALTER TABLE orders DROP created_at", "there is no orders.created_at in it"),
    ],
)
async def test_a_backup_of_the_wrong_thing_is_found_bad(shop, change: str, problem: str) -> None:
    """It is whole, its checksum fits, and it restores."""
    shop.server.run(change, shop.name, OWNER)
    await made(shop)
    newest = {"table": "orders", "column": "created_at", "within": "1d"}
    outcome = await shop.use("verify_backup", tables={"orders": 2000, "customers": 0}, newest=newest)
    assert outcome.kind is Result.REFUSED
    assert problem in outcome.error
    assert any(problem in each for each in outcome.result["problems"])
    assert outcome.result["tables"]["customers"] == 0
    assert scratches(shop) == "0"


async def test_no_backup_is_not_a_good_one(shop) -> None:
    """Nor is one of another class, or one that was named and is not there."""
    outcome = await shop.use("verify_backup", tables={"orders": 1})
    assert outcome.kind is Result.REFUSED
    await made(shop)
    for more in (
        {"class": "daily"},
        {"backup": "main-hourly-20200101T000000Z.dump"},
        {"backup": "other-hourly-20200101T000000Z.dump"},
    ):
        outcome = await shop.use("verify_backup", tables={"orders": 1}, **more)
        assert outcome.kind is Result.REFUSED
        assert "there is no" in outcome.error


async def test_the_scratch_database_is_dropped_when_the_time_is_up(shop) -> None:
    """The step ends in an error, and nothing is left."""
    await made(shop)
    stuck = place_with_program(shop, "pg_restore", "exec sleep 600")
    outcome = await stuck.use("verify_backup", seconds=2.0, tables={"orders": 1})
    assert outcome.kind is Result.ERROR
    assert "could not be tried: pg_restore had not ended" in outcome.error
    assert scratches(shop) == "0"


async def test_the_scratch_database_is_dropped_when_the_step_is_cancelled(shop, announcement) -> None:
    """The daemon is told to stop while pg_restore is at work."""
    await made(shop)
    stuck = place_with_program(shop, "pg_restore", f"echo begun > {announcement.path}; exec sleep 600")
    asked = asyncio.create_task(stuck.use("verify_backup", seconds=60.0, tables={"orders": 1}))
    assert await announcement.heard() == "begun"
    assert scratches(shop) == "1"
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert scratches(shop) == "0"


def place_with_program(place, name: str, script: str):
    """Give the place with programs of which one is another."""
    folder = place.folder / "programs"
    folder.mkdir()
    for each in ("pg_dump", "pg_restore"):
        body = script if each == name else f'exec {programs() / each} "$@"'
        (folder / each).write_text(f"#!/bin/sh\n{body}\n")
        (folder / each).chmod(0o755)
    changed = place.at()
    changed.settings["postgres"]["programs"] = str(folder)
    return changed


async def test_what_a_crash_has_left_on_the_server_is_dropped_a_day_later(shop) -> None:
    """Not before: somebody may be at it."""
    old = f"remediator_scratch_{int(time.time() - 2 * DAY)}_0123abcd"
    young = f"remediator_scratch_{int(time.time())}_0123abcd"
    for name in (old, young):
        shop.server.run(f"CREATE DATABASE {name} OWNER {OWNER}")
    await made(shop)
    outcome = await shop.use("verify_backup", tables={"orders": 1})
    assert outcome.kind is Result.OK, outcome.error
    left = shop.server.run("SELECT datname FROM pg_database WHERE datname LIKE 'remediator\\_scratch%'")
    shop.server.run(f"DROP DATABASE {young}")
    assert left == young


async def test_without_the_right_to_make_databases_it_is_refused(shop) -> None:
    """The advice says which right."""
    await made(shop)
    shop.server.run(f"ALTER ROLE {OWNER} NOCREATEDB")
    try:
        outcome = await shop.use("verify_backup", tables={"orders": 1})
    finally:
        shop.server.run(f"ALTER ROLE {OWNER} CREATEDB")
    assert outcome.kind is Result.REFUSED
    assert "permission denied to create database; give its user the right" in outcome.error


async def test_p9_the_password_is_no_argument_of_a_program(shop) -> None:
    """It is in the environment of pg_dump, and nowhere else."""
    told = shop.folder / "told"
    told.mkdir()
    spying = place_with_program(
        shop, "pg_dump", f'echo "$@" > {told}/argv; env > {told}/env; echo "said $PGPASSWORD" >&2; exit 1'
    )
    outcome = await spying.use("backup", **{"class": "hourly"})
    assert outcome.kind is Result.REFUSED
    assert "said [secret database_password]" in outcome.error
    assert PASSWORD not in (told / "argv").read_text()
    assert PASSWORD in (told / "env").read_text()
    assert list(backups(shop).iterdir()) == []


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (
            "echo 'pg_dump: error: could not write: No space left on device' >&2; exit 1",
            Result.REFUSED,
            "No space left",
        ),
        (
            "echo 'pg_dump: error: server closed the connection unexpectedly' >&2; exit 1",
            Result.ERROR,
            "closed the connection",
        ),
        ("exec sleep 600", Result.ERROR, "had not ended"),
        (f"kill -{signal.SIGKILL} $$", Result.ERROR, "exit status -9"),
    ],
)
async def test_a_backup_that_breaks_off_leaves_nothing(shop, script: str, kind: Result, words: str) -> None:
    """Not even under its other name."""
    outcome = await place_with_program(shop, "pg_dump", script).use("backup", seconds=1.5, **{"class": "hourly"})
    assert (outcome.kind, outcome.result) == (kind, None)
    assert words in outcome.error
    assert list(backups(shop).iterdir()) == []


async def test_without_the_programs_nothing_is_sent(shop) -> None:
    """What to install is said."""
    changed = shop.at()
    changed.settings["postgres"]["programs"] = str(shop.folder)
    outcome = await changed.use("backup", **{"class": "hourly"})
    assert outcome.kind is Result.NOT_SENT
    assert "install the package postgresql-client" in outcome.error
    assert list(backups(shop).iterdir()) == []


async def test_a_finished_backup_is_handed_to_a_command(shop) -> None:
    """And one that could not be taken elsewhere is an error, though it is kept."""
    elsewhere = shop.folder / "elsewhere"
    elsewhere.mkdir()
    outcome = await shop.at(backup_command=["cp", "-t", str(elsewhere)]).use("backup", **{"class": "daily"})
    assert outcome.kind is Result.OK, outcome.error
    assert [each.name for each in elsewhere.iterdir()] == [outcome.result["name"]]
    failing = await shop.at(backup_command=["cp", "-t", str(shop.folder / "nowhere")]).use(
        "backup", **{"class": "weekly"}
    )
    assert failing.kind is Result.ERROR
    assert "is made and kept, but was not taken elsewhere" in failing.error
    assert (await shop.use("backup_list", **{"class": "weekly"})).result["count"] == 1


@pytest.mark.parametrize("action", ["backup", "backup_list", "backup_prune", "verify_backup"])
async def test_without_a_folder_it_is_found_by_check(place, action: str) -> None:
    """The key is named."""
    from remediator.actions.catalog import load_catalog

    written = {
        "backup": {"class": "daily"}, "backup_prune": {"keep": {"daily": {"count": 1}}}, "verify_backup": {"tables": {"t": 1}},
    }.get(action, {})  # fmt: skip
    found = load_catalog()[f"postgres.{action}"]
    params = found.parameters.model_validate({"database": "main", **written})
    assert "databases.main.backups is not set" in found.check(params, place.at(backups=None).settings)
    gone = await place.at(backups="nowhere").use(action, **written)
    assert gone.kind is not Result.OK
    assert "nowhere" in gone.error


async def test_a_listing_knows_its_own_from_others(place) -> None:
    """By name alone: of another database, of somebody else, unfinished."""
    folder = backups(place)
    newest, oldest = shelve(folder, [HOUR, 3 * HOUR])
    (daily,) = shelve(folder, [2 * HOUR], "daily", checksum=False)
    shelve(folder, [HOUR], of="main-hourly")
    (folder / "notes.txt").touch()
    (folder / "main-hourly-20261399T000000Z.dump").touch()
    (folder / "main-hourly-20260115T000000Z.dump.old").touch()
    (folder / "main-hourly-20260115T000000Z.dump.partial").touch()
    (folder / "main-hourly-20260116T000000Z.dump").symlink_to(folder / newest)
    outcome = await place.use("backup_list")
    assert [each["name"] for each in outcome.result["backups"]] == [newest, daily, oldest]
    assert [each["checksum"] for each in outcome.result["backups"]] == [True, False, True]
    assert (outcome.result["unfinished"], outcome.result["others"]) == (1, 6)


@pytest.mark.parametrize(
    ("keep", "removed"),
    [
        ({"count": 3}, [3, 4, 5]),
        ({"age": "150m"}, [2, 3, 4, 5]),
        ({"count": 4, "age": "150m"}, [4, 5]),
        ({"count": 1, "age": "270m"}, [4, 5]),
        ({"count": 10}, []),
        ({"age": "30m"}, []),
    ],
)
async def test_what_count_or_age_keeps_is_kept(place, keep: dict, removed: list[int]) -> None:
    """Made 1, 2, … 6 hours ago; where even the newest is too old, none is removed."""
    names = shelve(backups(place), [hours * HOUR + 60 for hours in range(1, 7)])
    (other,) = shelve(backups(place), [400 * DAY], "daily")
    outcome = await place.use("backup_prune", keep={"hourly": keep})
    assert outcome.kind is Result.OK, outcome.error
    assert sorted(outcome.result["removed"]) == sorted(names[place_] for place_ in removed)
    assert outcome.result["kept"] == {"hourly": 6 - len(removed), "daily": 1}
    assert outcome.result["stale"] == (["hourly"] if keep == {"age": "30m"} else [])
    there = {each.name for each in backups(place).glob("*.dump")}
    assert there == {other, *(name for number, name in enumerate(names) if number not in removed)}
    assert {f"{name}.sha256" for name in there} == {each.name for each in backups(place).glob("*.sha256")}


async def test_p5_an_empty_folder_is_refused(place) -> None:
    """It is the wrong one, or somebody was faster."""
    (backups(place) / "notes.txt").touch()
    outcome = await place.use("backup_prune", keep={"hourly": {"count": 1}})
    assert outcome.kind is Result.REFUSED
    assert "is it the right folder?" in outcome.error


async def test_p5_the_newest_and_the_newest_with_a_checksum_are_never_removed(place) -> None:
    """A newest one that nobody can check is no backup yet."""
    bad = shelve(backups(place), [HOUR, 2 * HOUR], checksum=False)
    good = shelve(backups(place), [3 * HOUR, 4 * HOUR])
    outcome = await place.use("backup_prune", keep={"hourly": {"count": 1}})
    assert sorted(outcome.result["removed"]) == sorted([bad[1], good[1]])


async def test_no_more_than_the_cap_the_oldest_first(place) -> None:
    """And how many are left is said."""
    names = shelve(backups(place), [hours * HOUR for hours in range(1, 7)])
    outcome = await place.use("backup_prune", keep={"hourly": {"count": 1}}, most=2)
    assert outcome.result["removed"] == [names[5], names[4]]
    assert outcome.result["left"] == 3


async def test_what_broken_off_backups_have_left_goes_after_a_day(place) -> None:
    """Not before: somebody may be writing it. Nobody else's file goes."""
    folder = backups(place)
    shelve(folder, [HOUR])
    old, young, foreign, alone = (
        folder / f"{name_of('main', 'hourly', time.time() - n)}.partial" for n in (DAY * 3, 60, 0, 9)
    )
    foreign = folder / "main.partial"
    alone = folder / f"{name_of('main', 'hourly', time.time() - 2 * DAY)}.sha256"
    for path in (old, young, foreign, alone):
        path.touch()
    for path in (old, foreign, alone):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    outcome = await place.use("backup_prune", keep={"hourly": {"count": 1}})
    assert outcome.result["unfinished"] == 2
    assert (old.exists(), alone.exists(), young.exists(), foreign.exists()) == (False, False, True, True)


@pytest.mark.parametrize(
    "keep", [{}, {"hourly": {}}, {"hourly": {"count": 0}}, {"hourly": {"age": "0"}}, {"yearly": {"count": 1}}]
)
def test_nothing_is_pruned_by_default(keep: dict) -> None:
    """What is kept is written down."""
    with pytest.raises(ValidationError):
        PruneParameters.model_validate({"database": "main", "keep": keep})


@pytest.mark.parametrize(
    "name",
    [
        "../main-hourly-20260115T000000Z.dump",
        "main-hourly-20260115T000000Z.dump/..",
        "x",
        "-hourly-20260115T000000Z.dump",
    ],
)
def test_p10_a_backups_name_leads_nowhere_else(name: str) -> None:
    """It is no path."""
    assert not BACKUP.fits(name)
