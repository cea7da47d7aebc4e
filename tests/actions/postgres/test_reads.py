"""What a real server is busy with, as the reads tell it."""

from __future__ import annotations

import asyncio

from postgres import APPLICATION, OWNER, SUPERUSER, standby_of, start

from remediator.actions.protocol import Result


async def test_activity_counts_and_names_the_oldest(place) -> None:
    """Of the whole server, the asking session left out."""
    open_, working, _ = (
        await place.session(application="web-1"),
        await place.session(application="web-2"),
        await place.session(),
    )
    await open_.execute("BEGIN")
    pid = await place.busy(working)
    outcome = await place.use("activity", top=1)
    assert outcome.kind is Result.OK, outcome.error
    result = outcome.result
    assert result["connections"]["most"] == 60
    assert 4 <= result["connections"]["used"] == 57 - result["connections"]["free"]
    assert result["states"]["active"] == 1
    assert result["states"]["idle in transaction"] == 1
    assert result["states"]["idle"] >= 1
    assert result["users"][APPLICATION] == 3
    assert (result["applications"]["web-1"], result["applications"]["web-2"], result["hidden"]) == (1, 1, 0)
    assert result["longest_query"]["pid"] == pid
    assert result["longest_query"]["query"] == "SELECT pg_sleep(600)"
    assert result["longest_transaction"]["pid"] == open_.get_server_pid()
    assert [each["pid"] for each in result["top"]] == [open_.get_server_pid()]


async def test_activity_of_a_user_without_rights_says_how_many_are_hidden(place) -> None:
    """None of them is counted as idle."""
    place.server.run("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
    await place.session()
    outcome = await place.at(url=place.server.trusted(place.name, "weak"), password=None).use("activity")
    assert outcome.kind is Result.OK, outcome.error
    assert outcome.result["hidden"] >= 1
    assert outcome.result["states"] == {}


async def test_locks_name_who_waits_and_who_is_the_cause(place) -> None:
    """A chain of three: the last waits for the second, who waits for the first."""
    place.server.run(f"CREATE TABLE t (a int); GRANT ALL ON t TO {APPLICATION}", place.name, OWNER)
    first, second, third = [await place.session() for _ in range(3)]
    await first.execute("BEGIN; LOCK TABLE t IN SHARE MODE")
    place.working.append(asyncio.create_task(second.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")))
    await place.until("SELECT count(*) = 1 FROM pg_locks WHERE pid = $1 AND NOT granted", second.get_server_pid())
    place.working.append(asyncio.create_task(third.execute("SELECT * FROM t")))
    await place.until("SELECT count(*) = 1 FROM pg_locks WHERE pid = $1 AND NOT granted", third.get_server_pid())
    outcome = await place.use("locks")
    assert outcome.kind is Result.OK, outcome.error
    waiting = {each["pid"]: each for each in outcome.result["waiting"]}
    assert set(waiting) == {second.get_server_pid(), third.get_server_pid()}
    assert waiting[second.get_server_pid()]["blocked_by"] == [first.get_server_pid()]
    assert waiting[third.get_server_pid()]["blocked_by"] == [second.get_server_pid()]
    assert waiting[third.get_server_pid()]["lock"] == "relation: AccessShareLock"
    assert waiting[third.get_server_pid()]["relation"] == "t"
    assert waiting[third.get_server_pid()]["waiting_s"] >= 0
    assert [each["pid"] for each in outcome.result["blockers"]] == [first.get_server_pid()]
    assert outcome.result["blockers"][0]["state"] == "idle in transaction"


async def test_nobody_waits(place) -> None:
    """That is an answer."""
    outcome = await place.use("locks")
    assert (outcome.kind, outcome.result) == (Result.OK, {"waiting": [], "blockers": []})


async def test_slow_queries_are_those_of_this_database(place) -> None:
    """Where the extension is not, that is an answer, too."""
    without = await place.use("slow_queries")
    assert (without.kind, without.result["available"]) == (Result.OK, False)
    assert "CREATE EXTENSION" in without.result["why"]
    place.server.run('CREATE SCHEMA "Odd ""one"; CREATE EXTENSION pg_stat_statements SCHEMA "Odd ""one"', place.name)
    place.server.run(f'GRANT USAGE ON SCHEMA "Odd ""one" TO {OWNER}', place.name)
    session = await place.session(user=OWNER)
    for _ in range(3):
        await session.fetchval("SELECT 40 + 2 AS the_answer")
    outcome = await place.use("slow_queries", by="calls", top=50)
    assert outcome.kind is Result.OK, outcome.error
    (found,) = [each for each in outcome.result["statements"] if "the_answer" in each["query"]]
    assert found["query"] == "SELECT $1 + $2 AS the_answer"
    assert (found["calls"], found["rows"]) == (3, 3)
    assert found["total_ms"] > 0


async def test_slow_queries_where_the_server_has_not_loaded_the_extension(place) -> None:
    """It is created, and yet counts nothing."""
    server = start({"shared_preload_libraries": ""})
    try:
        name = server.database()
        server.run("CREATE EXTENSION pg_stat_statements", name)
        outcome = await place.at(url=server.url(name)).use("slow_queries")
        assert (outcome.kind, outcome.result["available"]) == (Result.OK, False)
        assert "shared_preload_libraries" in outcome.result["why"]
    finally:
        server.stop()


async def test_replication_of_a_primary_and_of_its_standby(primary) -> None:
    """And a slot that keeps what nobody fetches."""
    alone = await primary.use("replication")
    assert alone.result == {"standby": False, "lag_s": None, "connected": None, "replicas": [], "slots": []}
    primary.server.run("SELECT pg_create_physical_replication_slot('forgotten', true)")
    follower = standby_of(primary.server)
    try:
        await primary.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()")
        first = await primary.use("replication")
        assert first.kind is Result.OK, first.error
        assert [(each["state"], each["user"]) for each in first.result["replicas"]] == [("streaming", SUPERUSER)]
        assert first.result["replicas"][0]["lag_bytes"] >= 0
        (slot,) = first.result["slots"]
        assert (slot["name"], slot["active"]) == ("forgotten", False)
        assert slot["kept_bytes"] >= 0
        second = await primary.at(url=follower.url(primary.name)).use("replication")
        assert second.kind is Result.OK, second.error
        assert (second.result["standby"], second.result["connected"], second.result["lag_s"]) == (True, True, 0.0)
        refused = await primary.at(url=follower.url(primary.name)).use("vacuum_analyze", worst=1)
        assert refused.kind is Result.OK
        assert refused.result["count"] == 0
    finally:
        follower.stop()


DEAD = """CREATE TABLE {name} (a int) WITH (autovacuum_enabled = off);
INSERT INTO {name} SELECT generate_series(1, {rows}); DELETE FROM {name};"""


async def dead(place, **tables: int) -> None:
    """Make tables with so many dead rows each, and wait till the statistics know."""
    for name, rows in tables.items():
        place.server.run(DEAD.format(name=name, rows=rows), place.name, OWNER)
    await place.until("SELECT coalesce(sum(n_dead_tup), 0) >= $1 FROM pg_stat_user_tables", sum(tables.values()))


async def test_bloat_lists_the_worst(place) -> None:
    """With the sum over all."""
    await dead(place, little=10, much=1000, none=0)
    outcome = await place.use("bloat", top=1)
    assert outcome.kind is Result.OK, outcome.error
    assert outcome.result["dead"] == 1010
    (worst,) = outcome.result["tables"]
    assert (worst["table"], worst["live"], worst["dead"], worst["share"]) == ("public.much", 0, 1000, 1.0)
    assert worst["bytes"] > 0
    assert (worst["vacuumed"], worst["analyzed"]) == (None, None)


async def test_vacuum_takes_the_worst_tables(place) -> None:
    """And afterwards they are clean."""
    await dead(place, little=10, much=1000, more=2000)
    outcome = await place.use("vacuum_analyze", worst=5, at_least=100)
    assert outcome.kind is Result.OK, outcome.error
    assert [each["table"] for each in outcome.result["tables"]] == ["public.more", "public.much"]
    assert outcome.result["count"] == 2
    await place.until("SELECT sum(n_dead_tup) = 10 FROM pg_stat_user_tables")
    after = await place.use("bloat", at_least=0)
    assert {each["table"] for each in after.result["tables"] if each["vacuumed"] and each["analyzed"]} == {
        "public.much", "public.more",
    }  # fmt: skip


async def test_vacuum_takes_tables_by_name(place) -> None:
    """Whatever they are called; one that is not there stops it before it begins."""
    place.server.run('CREATE TABLE "a; DROP TABLE t" (a int); CREATE TABLE t (a int)', place.name, OWNER)
    outcome = await place.use("vacuum_analyze", tables=['"a; DROP TABLE t"', "public.t", "t"])
    assert outcome.kind is Result.OK, outcome.error
    assert [each["table"] for each in outcome.result["tables"]] == ['public."a; DROP TABLE t"', "public.t"]
    missing = await place.use("vacuum_analyze", tables=["t", "gone"])
    assert missing.kind is Result.REFUSED
    assert "no table gone" in missing.error


async def test_vacuum_says_what_the_server_passes_over(place) -> None:
    """One is locked, one is somebody else's: where no other is left, it is refused."""
    place.server.run("CREATE TABLE mine (a int); CREATE TABLE locked (a int)", place.name, OWNER)
    place.server.run("CREATE TABLE theirs (a int)", place.name)
    place.server.run(f"ALTER DATABASE {place.name} OWNER TO {SUPERUSER}")  # a database's owner may vacuum all of it
    holder = await place.session(user=OWNER)
    await holder.execute("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
    outcome = await place.use("vacuum_analyze", tables=["mine", "locked", "theirs"])
    assert outcome.kind is Result.OK, outcome.error
    skipped = {each["table"]: each["skipped"] for each in outcome.result["tables"]}
    assert skipped["public.mine"] is None
    assert "lock not available" in skipped["public.locked"]
    assert "owner" in skipped["public.theirs"]
    refused = await place.use("vacuum_analyze", tables=["theirs"])
    assert refused.kind is Result.REFUSED
    assert "owner" in refused.error
