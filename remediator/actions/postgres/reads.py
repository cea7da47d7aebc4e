"""What a server is busy with: sessions, slow statements, locks, replication, dead rows.

The views are those of PostgreSQL, "The Cumulative Statistics System" and "System Views". Without the right pg_read_all_stats
a server shows a user its own sessions only: how many are `hidden` is said, so that none of them is taken for idle.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.postgres.connecting import OfDatabase, Session, SessionAction
from remediator.actions.postgres.values import plain, row
from remediator.actions.protocol import Effect, JsonValue, Outcome, Result

# What is shown of a session wherever one is. No work of ours is among them.
_SESSION = """pid, usename AS "user", datname AS database, application_name AS application, state,
    wait_event_type AS waits_for, left(query, 1000) AS query"""


class ActivityParameters(OfDatabase):
    """Whose activity, and how much of it."""

    top: int = Field(
        default=10, ge=0, le=50, description="How many sessions are listed, those with the oldest work first."
    )


class PostgresActivity(SessionAction[ActivityParameters]):
    """Say what the sessions of a server are doing.

    Of all databases of the server: `connections` has `used`, `most` and `free` (places that are left for ordinary users),
    `states`, `users` and `applications` count sessions, `longest_query` and `longest_transaction` are the sessions with the
    oldest running statement and the oldest open transaction (or null), `top` lists the sessions with the oldest work,
    `hidden` counts those that our user may not look into. Statements are shortened.

    Example:
        - id: sessions
          uses: postgres.activity
          with:
            database: main
          expect: result.connections.free > 5
    """

    name = "postgres.activity"
    effect = Effect.READ
    parameters = ActivityParameters

    def plan(self, params: ActivityParameters) -> str:
        """Say of which server."""
        return f"look at the sessions of the server of the database {params.database}"

    async def ask(self, session: Session, params: ActivityParameters) -> Outcome:
        """Ask for all at one instant: the view is read once in a transaction."""
        async with session.reading() as connection:
            places = await connection.fetchrow(_PLACES)
            counts = await connection.fetch(_COUNTS)
            working = [row(each) for each in await connection.fetch(_WORKING)]
        result: dict[str, JsonValue] = {
            "connections": row(places),
            "hidden": 0,
            "states": {},
            "users": {},
            "applications": {},
        }
        for kind, word, number in counts:
            if kind == "hidden":
                result["hidden"] = number
            else:
                result[kind][plain(word)] = number
        for key, age in (("longest_query", "query_age_s"), ("longest_transaction", "transaction_age_s")):
            aged = [each for each in working if each[age] is not None]
            result[key] = max(aged, key=lambda each: each[age], default=None)
        result["top"] = working[: params.top]
        return fitting(result, "the activity")


_PLACES = """
SELECT count(*) AS used, current_setting('max_connections')::int AS most,
    greatest(0, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) - count(*)) AS free
FROM pg_stat_activity WHERE backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL)
"""
_COUNTS = """
WITH client AS (
    SELECT * FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL))
)
SELECT 'states', state, count(*) FROM client WHERE state IS NOT NULL GROUP BY state
UNION ALL SELECT 'users', usename, count(*) FROM client WHERE usename IS NOT NULL GROUP BY usename
UNION ALL (SELECT 'applications', application_name, count(*) FROM client WHERE state IS NOT NULL
    GROUP BY application_name ORDER BY count(*) DESC, application_name LIMIT 100)
UNION ALL SELECT 'hidden', '', count(*) FROM client WHERE state IS NULL
"""
_WORKING = f"""
SELECT {_SESSION},
    CASE WHEN state = 'active' THEN extract(epoch FROM clock_timestamp() - query_start)::float8 END AS query_age_s,
    extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_age_s
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND (state = 'active' OR xact_start IS NOT NULL)
ORDER BY least(xact_start, CASE WHEN state = 'active' THEN query_start END), pid
"""  # noqa: S608 - of our own words


class SlowQueriesParameters(OfDatabase):
    """How many statements, and which are the worst."""

    top: int = Field(default=10, ge=1, le=50, description="How many are listed.")
    by: Literal["total", "mean", "calls"] = Field(
        default="total", description="By what they are ordered, largest first."
    )


class PostgresSlowQueries(SessionAction[SlowQueriesParameters]):
    """List the statements that take most of a database's time, as pg_stat_statements has counted them.

    `available` is false where the extension is not there, and `why` says what to do. Otherwise `statements` has `query`
    (without its values), `calls`, `rows`, `total_ms` and `mean_ms`, of this database since its figures were reset.

    Example:
        - id: slow
          uses: postgres.slow_queries
          with:
            database: main
            top: 5
    """

    name = "postgres.slow_queries"
    effect = Effect.READ
    parameters = SlowQueriesParameters

    def plan(self, params: SlowQueriesParameters) -> str:
        """Say how many."""
        return f"list {params.top} statements of the database {params.database}, largest {params.by} first"

    async def ask(self, session: Session, params: SlowQueriesParameters) -> Outcome:
        """Find the extension's view, and ask it."""
        async with session.reading() as connection:
            schema = await connection.fetchval(_STATEMENTS_SCHEMA)
            if schema is None:
                return _not_available("the extension is not in this database: CREATE EXTENSION pg_stat_statements")
            loaded = await connection.fetchval("SELECT current_setting('pg_stat_statements.max', true)")
            if loaded is None:
                return _not_available("the server has not loaded it: add it to shared_preload_libraries, and restart")
            # Until version 13 a statement was timed as a whole, and the columns had other names.
            time = "exec_time" if session.connection.get_server_version() >= (13,) else "time"
            order = {"total": f"total_{time}", "mean": f"mean_{time}", "calls": "calls"}[params.by]
            found = await connection.fetch(
                f"""SELECT query, calls, rows, total_{time}::float8 AS total_ms, mean_{time}::float8 AS mean_ms
                FROM {schema}.pg_stat_statements  -- quoted by the server
                WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                ORDER BY {order} DESC, query LIMIT $1""",  # noqa: S608 - of our own words, and the server's
                params.top,
            )
        return fitting({"available": True, "statements": [row(each) for each in found]}, "the list of statements")


def _not_available(why: str) -> Outcome:
    return Outcome(Result.OK, {"available": False, "why": why, "statements": []})


_STATEMENTS_SCHEMA = """
SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_stat_statements'
"""


class LocksParameters(OfDatabase):
    """Whose locks."""


class PostgresLocks(SessionAction[LocksParameters]):
    """Say who waits for a lock, for how long, and who holds it.

    `waiting` lists the sessions that wait, longest first, with `waiting_s`, the `lock`, the `relation` where it is of one of
    this database, and `blocked_by`, the pids that are in their way. `blockers` lists those who block and don't wait
    themselves: they are the cause. Statements are shortened.

    Example:
        - id: locks
          uses: postgres.locks
          with:
            database: main
          expect: result.waiting | length == 0
    """

    name = "postgres.locks"
    effect = Effect.READ
    parameters = LocksParameters

    def plan(self, params: LocksParameters) -> str:
        """Say of which server."""
        return f"look who waits for locks on the server of the database {params.database}"

    async def ask(self, session: Session, params: LocksParameters) -> Outcome:
        """Ask for those who wait, and for whom they wait."""
        async with session.reading() as connection:
            waiting = [row(each) for each in await connection.fetch(_WAITING)]
            asleep = {each["pid"] for each in waiting}
            causes = {pid for each in waiting for pid in each["blocked_by"]} - asleep
            blockers = await connection.fetch(_BLOCKERS, sorted(causes))
        result: dict[str, JsonValue] = {"waiting": waiting, "blockers": [row(each) for each in blockers]}
        return fitting(result, "the list of those who wait")


# A pid of 0 among those who block is a prepared transaction. `waitstart` came with version 14.
_WAITING = f"""
SELECT {_SESSION}, pg_blocking_pids(pid) AS blocked_by, l.locktype || ': ' || l.mode AS lock, l.relation,
    extract(epoch FROM clock_timestamp() - coalesce(l.since, query_start))::float8 AS waiting_s
FROM pg_stat_activity JOIN LATERAL (
    SELECT locktype, mode, (to_jsonb(pg_locks) ->> 'waitstart')::timestamptz AS since,
        CASE WHEN database = (SELECT oid FROM pg_database WHERE datname = current_database())
            THEN relation::regclass::text END AS relation
    FROM pg_locks WHERE pg_locks.pid = pg_stat_activity.pid AND NOT granted LIMIT 1
) AS l ON true
ORDER BY waiting_s DESC, pid
"""  # noqa: S608 - of our own words
_BLOCKERS = f"""
SELECT {_SESSION}, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_age_s,
    extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_age_s
FROM pg_stat_activity WHERE pid = ANY($1::int[]) ORDER BY xact_start, pid
"""  # noqa: S608 - of our own words


class ReplicationParameters(OfDatabase):
    """Whose replication."""


class PostgresReplication(SessionAction[ReplicationParameters]):
    """Say whether a server is a standby, how far behind it is, and who follows it.

    `standby` is true or false. Of a standby, `lag_s` is the age of the last transaction that it has replayed, 0 where it has
    replayed all that it has received, and null before the first; `connected` says whether it receives now. `replicas` lists
    who follows it, with `lag_bytes` and `lag_s` of what each has replayed; `slots` lists replication slots, with `active`
    and `kept_bytes`: what an inactive one keeps fills the disk.

    Example:
        - id: replication
          uses: postgres.replication
          with:
            database: main
          expect: not result.standby
    """

    name = "postgres.replication"
    effect = Effect.READ
    parameters = ReplicationParameters

    def plan(self, params: ReplicationParameters) -> str:
        """Say of which server."""
        return f"look at the replication of the server of the database {params.database}"

    async def ask(self, session: Session, params: ReplicationParameters) -> Outcome:
        """Ask for its own place, its replicas, and its slots."""
        async with session.reading() as connection:
            own = row(await connection.fetchrow(_STANDBY))
            replicas = [row(each) for each in await connection.fetch(_REPLICAS)]
            slots = [row(each) for each in await connection.fetch(_SLOTS)]
        return fitting({**own, "replicas": replicas, "slots": slots}, "the replication")


_STANDBY = """
SELECT pg_is_in_recovery() AS standby,
    CASE WHEN NOT pg_is_in_recovery() THEN NULL
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8 AS lag_s,
    CASE WHEN pg_is_in_recovery()
        THEN EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) END AS connected
"""
_PLACE = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
_REPLICAS = f"""
SELECT pid, usename AS "user", application_name AS application, host(client_addr) AS address, state, sync_state AS sync,
    pg_wal_lsn_diff({_PLACE}, replay_lsn)::float8 AS lag_bytes, extract(epoch FROM replay_lag)::float8 AS lag_s
FROM pg_stat_replication ORDER BY application_name, pid
"""  # noqa: S608 - of our own words
_SLOTS = f"""
SELECT slot_name AS name, slot_type AS kind, database, active, pg_wal_lsn_diff({_PLACE}, restart_lsn)::float8 AS kept_bytes
FROM pg_replication_slots ORDER BY slot_name
"""  # noqa: S608 - of our own words


class BloatParameters(OfDatabase):
    """How many tables, from how many dead rows on."""

    top: int = Field(
        default=20, ge=1, le=100, description="How many tables are listed, those with most dead rows first."
    )
    at_least: int = Field(default=1, ge=0, description="Dead rows from which on a table is listed.")


class PostgresBloat(SessionAction[BloatParameters]):
    """List the tables of a database with most dead rows, as its statistics estimate them.

    `tables` has `table`, `live`, `dead`, `share` (of dead rows among all), `bytes` (with indexes and all), and when it was
    last vacuumed and analysed, by hand or by itself (`vacuumed`, `analyzed`, or null); `dead` beside it is the sum over all
    tables of the database.

    Example:
        - id: bloat
          uses: postgres.bloat
          with:
            database: main
            top: 5
    """

    name = "postgres.bloat"
    effect = Effect.READ
    parameters = BloatParameters

    def plan(self, params: BloatParameters) -> str:
        """Say how many."""
        return f"list {params.top} tables of the database {params.database} with most dead rows"

    async def ask(self, session: Session, params: BloatParameters) -> Outcome:
        """Ask the statistics."""
        async with session.reading() as connection:
            dead = await connection.fetchval("SELECT coalesce(sum(n_dead_tup), 0)::int8 FROM pg_stat_user_tables")
            found = await connection.fetch(_BLOAT, params.at_least, params.top)
        return fitting({"dead": dead, "tables": [row(each) for each in found]}, "the list of tables")


_BLOAT = """
SELECT format('%I.%I', schemaname, relname) AS "table", n_live_tup AS live, n_dead_tup AS dead,
    round(n_dead_tup / greatest(1, n_live_tup + n_dead_tup)::numeric, 4)::float8 AS share,
    pg_total_relation_size(relid) AS bytes, greatest(last_vacuum, last_autovacuum) AS vacuumed,
    greatest(last_analyze, last_autoanalyze) AS analyzed
FROM pg_stat_user_tables WHERE n_dead_tup >= $1 ORDER BY n_dead_tup DESC, 1 LIMIT $2
"""
