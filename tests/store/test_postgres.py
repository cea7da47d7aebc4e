"""The shared store: what several daemons may rely on, and how it fails closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from daemon import eventually
from pooler import pooled
from postgres import OWNER, Server, running, start
from samples import NOW, event, put, run, story
from wire import wire

from remediator.errors import StoreError, StoreForeign
from remediator.model.control import Control, ControlKind
from remediator.store.chain import GENESIS
from remediator.store.postgres import PostgresStore, open_store
from remediator.store.postgres.auditing import audit
from remediator.store.protocol import Transaction

Note = Callable[[str], Callable[[Transaction], Any]]


@asynccontextmanager
async def opened(url: str, chain: str = "here") -> AsyncIterator[PostgresStore]:
    """Open a store, and close it in the end."""
    store = await open_store(url, chain, lambda now: None, NOW)
    try:
        yield store
    finally:
        await store.close()


def database(url: str) -> str:
    """Name the database of an address."""
    return url.rpartition("/")[2]


def keep(number: int) -> Callable[[Transaction], Any]:
    """Give a script that writes a line of history, and can be told from others."""
    return lambda tx: tx.append([event(number)])


async def kept(store: PostgresStore) -> list[float]:
    """Give what is kept of such lines, as their numbers."""
    return [each.at - NOW for each in await store.view(lambda tx: tx.events(0, 1000))]


def break_off(server: Server) -> None:
    """End all sessions of stores, as a server that is restarted would."""
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'remediator'")


# -- several daemons --


async def test_scripts_of_several_daemons_are_one_after_the_other() -> None:
    """What one has read nobody changes before it has written."""
    url = running().store()

    async def count(tx: Transaction) -> None:
        there = await tx.timers()
        number = int(there[0].about) if there else 0
        await asyncio.sleep(0)  # others would have their turn here
        await tx.set_timer(type(there[0])("t", NOW, str(number + 1)) if there else _timer("1"))

    async with opened(url, "a") as first, opened(url, "b") as second, opened(url, "c") as third:
        await asyncio.gather(*(store.transact(count) for store in (first, second, third) for _ in range(40)))
        (timer,) = await first.view(lambda tx: tx.timers())
    assert timer.about == "120"


def _timer(about: str) -> Any:
    from remediator.store.protocol import Timer

    return Timer("t", NOW, about)


async def test_each_daemon_has_a_chain_and_all_hold() -> None:
    """However their lines are mixed."""
    url = running().store()
    async with opened(url, "a") as first, opened(url, "b") as second:
        for number in range(6):
            await (first, second)[number % 2].transact(keep(number))
        events = await first.view(lambda tx: tx.events(0, 10))
        assert [(each.seq, each.chain, each.number) for each in events] == [
            (1, "a", 1), (2, "b", 1), (3, "a", 2), (4, "b", 2), (5, "a", 3), (6, "b", 3),
        ]  # fmt: skip
    report = await asyncio.to_thread(audit, url)
    assert (report.ok, report.events, [(each.chain, each.number) for each in report.heads]) == (
        True,
        6,
        [("a", 3), ("b", 3)],
    )


async def test_a_changed_line_of_either_chain_is_found() -> None:
    """By whoever audits."""
    url = running().store()
    async with opened(url, "a") as first, opened(url, "b") as second:
        await first.transact(keep(1))
        await second.transact(keep(2))
    running().run("UPDATE events SET line = replace(line, 'x', 'y') || ' ' WHERE chain = 'b'", database(url), OWNER)
    report = await asyncio.to_thread(audit, url)
    assert not report.ok
    assert "event 1 of chain b" in report.problems[0]


async def test_the_others_are_told_of_work_and_of_orders() -> None:
    """Not the one that has made it, who knows."""
    url = running().store()
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with opened(url) as here, opened(url) as there:
        here.when_stirred(lambda ordered: told.put_nowait(("here", ordered)))
        there.when_stirred(lambda ordered: told.put_nowait(("there", ordered)))
        await _listening(url, 2)
        await here.transact(lambda tx: tx.wake(["x"], NOW))
        assert await told.get() == ("there", False)
        order = Control("c", ControlKind.CANCEL, laid_at=NOW, author="ann", reason="x", run="r")
        await there.transact(lambda tx: tx.lay(order))
        assert await told.get() == ("here", True)
        await here.transact(keep(1))  # nothing that is due
        assert told.empty()


async def _listening(url: str, count: int) -> None:
    """Wait till so many daemons listen."""
    asked = f"SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen %' AND datname = '{database(url)}'"  # noqa: S608
    there = lambda: int(running().run(asked)) == count  # noqa: E731
    await asyncio.to_thread(eventually, there, "all listen")


# -- one script and the others --


async def test_a_script_that_fails_takes_no_other_with_it() -> None:
    """Though they would have been committed together."""

    async def fails(tx: Transaction) -> None:
        await tx.append([event(9)])
        raise ValueError("no")

    async with opened(running().store()) as store:
        results = await asyncio.gather(
            store.transact(keep(1)), store.transact(fails), store.transact(keep(2)), return_exceptions=True
        )
        assert [type(each) for each in results] == [type(None), ValueError, type(None)]
        assert await kept(store) == [1, 2]


async def test_what_the_database_refuses_is_refused_alone() -> None:
    """A second open run on one target; a NUL, which no text of PostgreSQL holds."""
    async with opened(running().store()) as store:
        await put(store, story(1))
        for refused in (story(2, target="app1"), story(3, target="a\0b")):
            with pytest.raises(StoreError, match="refused a write"):
                await store.transact(lambda tx, refused=refused: tx.add([refused]))
        await put(store, story(4))
        assert store.failing is None


@pytest.mark.fault("serialization failure", store="postgres")
async def test_a_transaction_that_can_t_be_put_in_order_is_begun_anew_as_a_whole() -> None:
    """As distributed databases ask for at any time."""
    times = 0

    async def script(tx: Transaction) -> int:
        nonlocal times
        times += 1
        await tx.append([event(times)])
        if times < 3:
            raise asyncpg.SerializationError("restart transaction")
        return times

    async with opened(running().store()) as store:
        assert await store.transact(script) == 3
        assert await kept(store) == [3]


async def test_a_defect_of_the_writer_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept any more, and the daemon stops."""
    async with opened(running().store()) as store:
        monkeypatch.setattr(PostgresStore, "_begin", lambda *_: 1 / 0)
        results = await asyncio.gather(*(store.transact(keep(n)) for n in range(3)), return_exceptions=True)
        assert [type(each) for each in results] == [StoreError] * 3
        with pytest.raises(StoreError, match="defect"):
            await store.transact(keep(4))


# -- commits whose answer is lost --


@pytest.mark.fault("connection lost in COMMIT", store="postgres")
async def test_a_commit_whose_answer_was_lost_is_known_to_be_kept() -> None:
    """It is looked up by its name, and nothing is done twice."""
    url = running().store()
    async with wire(running().port) as laid, opened(laid.through(url)) as store:
        await store.transact(keep(1))
        laid.cut = "after"
        await store.transact(keep(2))
        assert laid.cut is None, "the answer was lost indeed"
        assert await kept(store) == [1, 2]


@pytest.mark.fault("connection lost in COMMIT", store="postgres")
async def test_a_commit_that_never_arrived_is_known_to_be_lost() -> None:
    """Whoever asked is told, and may try again."""
    url = running().store()
    async with wire(running().port) as laid, opened(laid.through(url)) as store:
        await store.transact(keep(1))
        laid.cut = "before"
        with pytest.raises(StoreError, match="did not keep"):
            await store.transact(keep(2))
        await store.transact(keep(3))
        assert await kept(store) == [1, 3]


# -- a database that is away --


@pytest.mark.fault("PostgreSQL restarted", store="postgres")
async def test_a_database_that_comes_back_is_taken_up_again() -> None:
    """Nothing is kept meanwhile, and nothing that was kept is lost."""
    url = running().store()
    async with opened(url) as store:
        await store.transact(keep(1))
        break_off(running())
        with pytest.raises(StoreError, match="can't be written at the moment"):
            await store.transact(keep(2))
        await store.transact(keep(3))
        assert (await kept(store), store.failing) == ([1, 3], None)


@pytest.mark.fault("failover to a read-only node", store="postgres")
async def test_p4_a_database_that_takes_no_writes_is_an_error_till_it_does() -> None:
    """As a standby that has not been promoted, or a node that has lost its quorum."""
    url = running().store()
    name = database(url)
    async with opened(url) as store:
        await store.transact(keep(1))
        running().run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        break_off(running())
        for _ in range(2):
            with pytest.raises(StoreError, match="can't be written"):
                await store.transact(keep(2))
        assert "read-only" in str(store.failing)
        running().run(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        await store.transact(keep(3))
        assert await kept(store) == [1, 3]


@pytest.mark.slow
@pytest.mark.fault("partition to the database", store="postgres")
async def test_a_daemon_that_is_cut_off_holds_nobody_up() -> None:
    """Its transaction was open, with the lock: the server ends it, and the others go on."""
    url = running().store()
    async with wire(running().port) as laid, opened(laid.through(url), "cut") as cut, opened(url, "whole") as whole:
        reached = asyncio.Event()

        async def slow(tx: Transaction) -> None:
            await tx.append([event(1)])
            laid.silent = True
            reached.set()
            await tx.append([event(2)])

        lost = asyncio.create_task(cut.transact(slow))
        await reached.wait()
        await whole.transact(keep(3))  # waits for the lock, for some seconds
        assert await kept(whole) == [3]
        with pytest.raises(StoreError):
            await lost
        laid.hang_up()


@pytest.mark.slow
@pytest.mark.fault("database locked", store="postgres")
async def test_p4_a_lock_that_is_not_let_go_of_is_waited_for_within_a_bound() -> None:
    """Somebody's open psql, for instance."""
    url = running().store()
    async with opened(url) as store, AsyncExitStack() as closing:
        theirs = await asyncpg.connect(url)
        closing.callback(theirs.terminate)
        await theirs.execute("BEGIN; SELECT 1 FROM head FOR UPDATE")
        with pytest.raises(StoreError, match="lock timeout"):
            await store.transact(keep(1))
        await theirs.execute("ROLLBACK")
        await store.transact(keep(2))
        assert await kept(store) == [2]


@pytest.mark.fault("pool exhausted", store="postgres")
async def test_p7_a_full_server_keeps_nobody_from_laying_a_pause() -> None:
    """The connection that orders and history go by is ours all the time."""
    server = start({"max_connections": "12"})
    try:
        url = server.store()
        async with opened(url) as store, AsyncExitStack() as closing:
            await store.transact(keep(1))

            async def fill() -> None:
                while True:
                    closing.callback((await asyncpg.connect(url)).terminate)

            with pytest.raises(asyncpg.TooManyConnectionsError):
                await fill()
            pause = Control("c", ControlKind.PAUSE, laid_at=NOW, author="ann", reason="x")
            await store.transact(lambda tx: tx.lay(pause))
            assert await store.transact(lambda tx: tx.controls(NOW)) == [pause]
            await store.transact(keep(2))
    finally:
        server.stop()


@pytest.mark.fault("disk full", store="postgres")
async def test_p4_a_database_whose_disk_is_full_keeps_nothing_till_there_is_room() -> None:
    """The server says so at a write; the error is raised here as it would be there."""
    url = running().store()
    running().run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$;",
        database(url), OWNER,
    )  # fmt: skip
    async with opened(url) as store:
        on_events = "TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()"
        running().run(f"CREATE {on_events}", database(url), OWNER)
        with pytest.raises(StoreError, match="No space left"):
            await store.transact(keep(1))
        assert "No space left" in str(store.failing)
        running().run("DROP TRIGGER full_disk ON events", database(url), OWNER)
        await store.transact(keep(2))
        assert (await kept(store), store.failing) == ([2], None)


async def test_reading_goes_on_at_once_when_the_database_is_back() -> None:
    """Though every connection to read by has died meanwhile."""
    url = running().store()
    async with opened(url) as store:
        await store.transact(keep(1))
        await asyncio.gather(kept(store), kept(store))
        break_off(running())
        assert await asyncio.gather(kept(store), kept(store)) == [[1], [1]]


async def test_what_reads_over_a_line_that_is_silent_gives_up_in_time_and_then_takes_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is closed in a partition, and a cancellation gets through no more than a question."""
    monkeypatch.setattr("remediator.store.postgres.store._WHOLE", 0.5)
    url = running().store()
    async with wire(running().port) as laid, opened(laid.through(url)) as store:
        await store.transact(keep(1))
        await asyncio.gather(kept(store), kept(store))
        laid.silent = True
        began = time.monotonic()
        read = [asyncio.create_task(kept(store)) for _ in range(2)]
        for each in read:
            with pytest.raises(StoreError, match="can't be read"):
                await each
        assert time.monotonic() - began < 10
        laid.silent = False
        assert await asyncio.gather(kept(store), kept(store)) == [[1], [1]]
        laid.hang_up()


# -- history that is gone --


async def forget(store: PostgresStore, url: str) -> None:
    """Leave a database as it was after its first line of history."""
    first = (await store.view(lambda tx: tx.events(0, 1)))[0]
    restore = f"UPDATE chains SET number = 1, hash = '{first.hash}'; UPDATE head SET seq = 1;"  # noqa: S608
    running().run(f"{restore} DELETE FROM events WHERE seq > 1", database(url), OWNER)  # noqa: S608


@pytest.mark.fault("an old backup restored", store="postgres")
async def test_p8_a_database_that_has_forgotten_what_it_kept_is_not_trusted() -> None:
    """A backup was restored under a running daemon, or a standby took over that was behind."""
    url = running().store()
    async with opened(url) as store:
        for number in (1, 2, 3):
            await store.transact(keep(number))
        await forget(store, url)
        break_off(running())
        with pytest.raises(StoreError):
            await store.transact(keep(4))
        with pytest.raises(StoreError, match="has lost history"):
            await store.transact(keep(5))
        assert store.broken is not None
        assert await kept(store) == [1]


@pytest.mark.slow
async def test_p8_what_has_forgotten_behind_a_pooler_is_found_out_though_no_connection_was_lost() -> None:
    """It takes our next transaction to another server, such as a standby that was behind, and we are told nothing."""
    url = running().store()
    with pooled(running(), sessions=1) as through:
        async with opened(through(url)) as store, opened(through(url), "other") as other:
            for number in range(1, 4):
                await asyncio.gather(store.transact(keep(number)), other.transact(_nothing_kept))
            await store.transact(keep(4))
            await forget(store, url)
            break_off(running())
            with pytest.raises(StoreError, match="has lost history"):
                await store.transact(keep(5))
            assert store.broken is not None
            assert await kept(other) == [1]


async def _nothing_kept(tx: Transaction) -> None:
    await tx.set_timer(_timer("1"))


async def test_pruned_history_is_not_taken_for_lost() -> None:
    """The checkpoint says how far it was pruned."""
    url = running().store()
    async with opened(url) as store:
        await store.transact(keep(1))
        await store.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + 9))
        break_off(running())
        with pytest.raises(StoreError):
            await store.transact(keep(2))
        await store.transact(keep(3))
        assert await kept(store) == [3]
    report = await asyncio.to_thread(audit, url)
    assert (report.ok, report.checkpoints[0].number, report.events) == (True, 1, 1)


async def test_p8_what_is_pruned_of_each_chain_is_checkpointed_though_times_are_not_in_order() -> None:
    """A daemon may have had the time before another, and writes after it: what goes with older lines is not missed."""
    url = running().store()
    async with opened(url, "a") as first, opened(url, "b") as second:
        for store, at in ((first, 1), (second, 1), (first, 5), (second, 4), (first, 6), (second, 6)):
            await store.transact(keep(at))
        await first.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + 4.5))
        assert await kept(first) == [6, 6]
    report = await asyncio.to_thread(audit, url)
    assert (report.ok, report.events, report.problems) == (True, 2, ())


# -- the schema --


@pytest.mark.fault("concurrent migration", store="postgres")
async def test_of_many_daemons_that_start_at_once_one_makes_the_schema() -> None:
    """The others wait for it."""
    url = running().store()
    stores = await asyncio.gather(*(open_store(url, str(n), lambda now: None, NOW + n) for n in range(8)))
    await asyncio.gather(*(store.transact(keep(n)) for n, store in enumerate(stores)))
    assert sorted(await kept(stores[0])) == list(range(8))
    for store in stores:
        await store.close()


@pytest.mark.slow
async def test_a_daemon_that_is_cut_off_while_it_starts_keeps_no_other_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It held the version's row: the server ends its transaction, as it does with those that decide."""
    url = running().store()
    async with wire(running().port) as laid, opened(url):

        def cut_off() -> int:
            monkeypatch.undo()
            laid.silent = True
            return 1000

        monkeypatch.setattr("remediator.store.postgres.connecting.newest", cut_off)
        lost = asyncio.create_task(open_store(laid.through(url), "cut", lambda now: None, NOW))
        await asyncio.to_thread(eventually, lambda: laid.silent, "it has the row")
        async with asyncio.timeout(20), opened(url, "other") as other:
            await other.transact(keep(1))
            assert await kept(other) == [1]
        lost.cancel()
        await asyncio.wait({lost})
        laid.hang_up()


@pytest.mark.fault("versions N and N+1", store="postgres")
async def test_p15_a_newer_schema_is_worked_with_as_long_as_it_allows_that() -> None:
    """A daemon that runs notices, and one that starts refuses."""
    url = running().store()
    async with opened(url) as store:
        running().run("UPDATE remediator_schema SET version = 1000", database(url), OWNER)
        await store.transact(keep(1))
        async with opened(url, "beside") as beside:
            await beside.transact(keep(2))
        running().run("UPDATE remediator_schema SET needs = 1000", database(url), OWNER)
        with pytest.raises(StoreError, match="upgrade Remediator"):
            await store.transact(keep(3))
        assert store.broken is not None
        with pytest.raises(StoreForeign, match="upgrade Remediator"):
            await open_store(url, "late", lambda now: None, NOW)


async def test_p15_what_waited_for_the_lock_while_the_schema_became_too_new_is_not_kept() -> None:
    """What a statement sees is as old as its beginning, and the lock may be waited for since."""
    url = running().store()
    async with opened(url) as store, AsyncExitStack() as closing:
        await store.transact(keep(1))
        newer = await asyncpg.connect(url)
        closing.callback(newer.terminate)
        await newer.execute("BEGIN; SELECT 1 FROM head FOR UPDATE")
        waiting = asyncio.create_task(store.transact(keep(2)))
        asked = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{database(url)}'"  # noqa: S608
        await asyncio.to_thread(eventually, lambda: running().run(asked) == "1", "it waits")
        await newer.execute("UPDATE remediator_schema SET version = 1000, needs = 1000; COMMIT")
        with pytest.raises(StoreError, match="upgrade Remediator"):
            await waiting
        assert store.broken is not None
        assert await kept(store) == [1]


async def test_somebody_elses_database_is_refused_and_left_alone() -> None:
    """Tables of our names that are not ours."""
    url = running().store()
    running().run("CREATE TABLE runs (x int)", database(url), OWNER)
    with pytest.raises(StoreForeign, match="database of its own"):
        await open_store(url, "here", lambda now: None, NOW)
    assert (
        running().run("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'", database(url))
        == "1"
    )


async def test_a_database_that_can_t_be_reached_is_said_without_its_password() -> None:
    """At the start nothing is waited for."""
    url = running().store().replace(f":{running().port}", ":1")
    with pytest.raises(StoreError, match="can't be reached") as caught:
        await open_store(url, "here", lambda now: None, NOW)
    assert "pa55" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.fault("a pooler in transaction mode", store="postgres")
async def test_a_pooler_may_give_each_transaction_another_session() -> None:
    """Statements are prepared no more once that is found out; one session serves several daemons."""
    url = running().store()
    with pooled(running(), sessions=2) as through:
        async with opened(through(url), "a") as first, opened(through(url), "b") as second:
            for store in (first, second):
                store.when_stirred(lambda ordered: None)
            await asyncio.gather(*(store.transact(keep(n)) for store in (first, second) for n in range(30)))
            for n in range(30):  # one by one, so that each may meet the session of the other
                await asyncio.gather(*(store.transact(keep(n)) for store in (first, second)))
            assert len(await kept(first)) == 120
            await put(first, story(1))
            (claimed,) = await second.transact(lambda tx: tx.claim("b", NOW, NOW + 60, 1))
            assert claimed.run.id == run(1).id
    report = await asyncio.to_thread(audit, url)
    assert report.ok


@pytest.mark.slow
async def test_a_million_events_are_verified_within_seconds() -> None:
    """A tenth of them has a tenth of 20 s of one core, some five times what it takes."""
    url = running().store()
    async with opened(url) as store:
        for batch in range(20):
            some = [event(number) for number in range(5000 * batch, 5000 * (batch + 1))]
            await store.transact(lambda tx, some=some: tx.append(some))
    began = time.process_time()
    report = await asyncio.to_thread(audit, url)
    assert time.process_time() - began < 2.0
    assert (report.ok, report.events) == (True, 100_000)


async def test_time_is_the_databases() -> None:
    """It is told at every transaction."""
    told: list[float] = []
    store = await open_store(running().store(), "here", told.append, NOW)
    await store.transact(keep(1))
    there = float(running().run("SELECT extract(epoch FROM clock_timestamp())"))
    assert there - 60 < told[-1] <= there
    await store.close()


async def test_an_empty_store_has_no_head() -> None:
    """The chain begins at the genesis."""
    async with opened(running().store()) as store:
        own, others = await store.view(lambda tx: tx.heads())
    assert (own.number, own.hash, others) == (0, GENESIS, [])


async def test_a_dead_daemons_leases_are_its_successors_and_nobody_elses() -> None:
    """Where nobody is known to have died, none is taken."""
    async with opened(running().store()) as store:
        await put(store, story(1), story(2))
        await store.transact(lambda tx: tx.claim("dead", NOW, NOW + 60, 1))
        await store.transact(lambda tx: tx.claim("living", NOW, NOW + 60, 1))
        assert await store.transact(lambda tx: tx.take_over(NOW, None)) == []
        assert await store.transact(lambda tx: tx.take_over(NOW, "dead")) == [run(1).id]
