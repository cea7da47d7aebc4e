"""`postgres.query` against a real server."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from remediator.actions.bounds import encoded_size
from remediator.actions.postgres.query import QueryParameters
from remediator.actions.protocol import MAX_RESULT_BYTES, Result


async def test_rows_are_mappings(place) -> None:
    """One row of one column has a value beside."""
    outcome = await place.use("query", sql="SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL ORDER BY a")
    assert outcome.kind is Result.OK, outcome.error
    assert outcome.result == {"rows": [{"a": 1, "b": "x"}, {"a": 2, "b": None}], "count": 2}
    one = await place.use("query", sql="SELECT count(*) FROM pg_class WHERE false")
    assert one.result == {"rows": [{"count": 0}], "count": 1, "value": 0}


async def test_every_type_comes_as_json(place) -> None:
    """What JSON can't hold is a text."""
    sql = """SELECT 1.50 AS a, 'NaN'::float8 AS b, '-Infinity'::float4 AS c, '90s'::interval AS d, 10::numeric ^ 30 AS e,
        '2026-01-15 10:00+00'::timestamptz AS f, 'a1b2'::bytea AS g, ARRAY[1, NULL] AS h, '{"a": 1}'::jsonb AS i,
        row(1, 'x') AS j, true AS k, '10.0.0.0/8'::cidr AS l, 'NaN'::numeric AS m, 9223372036854775807 AS n"""
    outcome = await place.use("query", sql=sql)
    assert outcome.kind is Result.OK, outcome.error
    assert outcome.result["rows"] == [
        {
            "a": 1.5, "b": "NaN", "c": "-Inf", "d": 90.0, "e": "1" + "0" * 30, "f": "2026-01-15T10:00:00+00:00",
            "g": b"a1b2".hex(), "h": [1, None], "i": '{"a": 1}', "j": [1, "x"], "k": True, "l": "10.0.0.0/8", "m": "NaN",
            "n": 9223372036854775807,
        }
    ]  # fmt: skip


async def test_p10_values_are_bound(place) -> None:
    """A text is never SQL, and is taken as the statement wants it."""
    evil = "x'; DROP TABLE t; --"
    sql = (
        "SELECT $1::text AS a, $2::int AS b, $3::timestamptz AS c, $4::text[], $5::interval, $6::float8 AS f, $7::bool"
    )
    outcome = await place.use(
        "query", sql=sql, bind=[evil, "7", "2026-01-15T10:00:00Z", [evil, ""], "5m", "1.5", "true"]
    )
    assert outcome.kind is Result.OK, outcome.error
    assert list(outcome.result["rows"][0].values()) == [
        evil, 7, "2026-01-15T10:00:00+00:00", [evil, ""], 300.0, 1.5, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "bind", "words"),
    [
        ("SELECT $1::int", ["many"], "can't be read as int4"),
        ("SELECT $1::int", [2**40], "refused"),
        ("SELECT $1::int[]", [1], "should be a list"),
        ("SELECT $1::int", [[1]], "should be no list"),
        ("SELECT $1", [], "wants 1 values, and `bind` has 0"),
        ("SELECT 1 AS a, 2 AS a", [], "same name"),
        ("SELECT nothing", [], "does not exist"),
        ("SELECT 1; SELECT 2", [], "multiple commands"),
    ],
)
async def test_what_makes_no_sense_is_refused(place, sql: str, bind: list, words: str) -> None:
    """With the reason."""
    outcome = await place.use("query", sql=sql, bind=bind)
    assert outcome.kind is Result.REFUSED
    assert words in outcome.error


@pytest.mark.parametrize(
    "sql",
    [
        "WITH gone AS (DELETE FROM t RETURNING a) SELECT count(*) FROM gone",
        "SELECT nextval('s')",
        "EXPLAIN ANALYZE DELETE FROM t",
    ],
)
async def test_a_statement_that_writes_is_refused(place, sql: str) -> None:
    """By the server: the transaction only reads."""
    place.server.run(
        "CREATE TABLE t AS SELECT 1 AS a; CREATE SEQUENCE s; ALTER TABLE t OWNER TO remediator", place.name
    )
    place.server.run("GRANT ALL ON s TO remediator", place.name)
    outcome = await place.use("query", sql=sql)
    assert outcome.kind is Result.REFUSED
    assert "read-only" in outcome.error
    assert place.server.run("SELECT count(*) FROM t", place.name) == "1"


async def test_what_the_server_lets_through_is_undone(place) -> None:
    """Before version 16 it does not ask whether large objects may be written."""
    await place.use("query", sql="SELECT lo_create(0)")
    assert place.server.run("SELECT count(*) FROM pg_largeobject_metadata", place.name) == "0"


@pytest.mark.parametrize(
    "sql", ["COMMIT", "SET transaction_read_only = off", "DO $$BEGIN END$$", "COPY t TO '/x'", "CALL p()", "-- x"]
)
def test_a_statement_that_is_no_question_is_not_taken(sql: str) -> None:
    """Nor can it end the transaction that only reads."""
    with pytest.raises(ValidationError, match="it should begin with SELECT"):
        QueryParameters(database="main", sql=sql)


async def test_p5_too_many_rows_are_an_error_never_cut(place) -> None:
    """By number, and by size."""
    many = await place.use("query", sql="SELECT generate_series(1, 6) AS n", most=5)
    assert (many.kind, many.result) == (Result.ERROR, None)
    assert "more than 5 rows" in many.error
    large = await place.use("query", sql="SELECT repeat('x', 1000) AS x FROM generate_series(1, 100)")
    assert (large.kind, large.result) == (Result.ERROR, None)
    assert "64 KiB" in large.error
    fits = await place.use("query", sql="SELECT generate_series(1, 5) AS n", most=5)
    assert fits.result["count"] == 5
    assert encoded_size(fits.result) <= MAX_RESULT_BYTES


async def test_a_statement_over_the_deadline_is_an_error_in_time(place) -> None:
    """And the server is at it no more."""
    outcome = await place.use("query", seconds=0.5, sql="SELECT 1 FROM pg_sleep(600)")
    assert outcome.kind is Result.ERROR
    assert "in time" in outcome.error
    await place.until(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    )


async def test_a_session_that_is_ended_midway_is_an_error(place) -> None:
    """Nobody knows how far it came."""
    import asyncio

    asked = asyncio.create_task(place.use("query", sql="SELECT 1 FROM pg_sleep(600)"))
    await place.until(
        """SELECT count(*) = 1 FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'remediator' AND query LIKE '%pg_sleep(600)%') AS ended"""
    )
    outcome = await asked
    assert outcome.kind is Result.ERROR
    assert "was lost" in outcome.error
