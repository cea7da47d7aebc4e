"""The SQL of the shipped rules, which tells whether a remedy may be tried and whether it has helped, against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from postgres import APPLICATION

from remediator.actions.protocol import Result

SHIPPED = Path(__file__).parents[3] / "rules"
RULES = yaml.safe_load((SHIPPED / "database-issues.yml").read_text())["rules"]


def question(rule: str, check: str) -> str:
    """Give the SQL of a check of a rule."""
    (checks,) = [each["verify"]["checks"] for each in RULES if each["name"] == rule]
    (sql,) = [each["with"]["sql"] for each in checks if each["id"] == check]
    return str(sql)


async def ask(place: Any, sql: str, *bind: str | int) -> Any:
    """Give the one row of the answer."""
    outcome = await place.use("query", sql=sql, bind=list(bind))
    assert outcome.kind is Result.OK, outcome.error
    (row,) = outcome.result["rows"]
    return row


async def test_cancel_slow_queries_sees_what_runs_too_long(place) -> None:
    """Of the application's user, and not what is younger."""
    sql = question("cancel-slow-queries", "slow")
    assert await ask(place, sql, APPLICATION, 0) == {"slow": 0, "hidden": 0}
    await place.busy(await place.session())
    assert await ask(place, sql, APPLICATION, 0) == {"slow": 1, "hidden": 0}
    assert await ask(place, sql, APPLICATION, 300) == {"slow": 0, "hidden": 0}


async def test_contain_data_damage_sees_who_writes(place) -> None:
    """A transaction that has written counts, also while it does nothing; one that only reads does not."""
    place.server.run("CREATE TABLE t (a int); GRANT ALL ON t TO shop", place.name)
    sql = question("contain-data-damage", "writers")
    session = await place.session()
    await session.execute("BEGIN; SELECT * FROM t")
    assert await ask(place, sql, APPLICATION) == {"writing": 0, "hidden": 0}
    await session.execute("INSERT INTO t VALUES (1)")
    assert await ask(place, sql, APPLICATION) == {"writing": 1, "hidden": 0}


async def test_who_may_not_look_into_sessions_takes_them_for_no_proof(place) -> None:
    """A role without pg_monitor sees no state of others' sessions: they are counted as hidden."""
    place.server.run("REVOKE pg_monitor FROM remediator")
    try:
        await place.busy(await place.session())
        assert (await ask(place, question("cancel-slow-queries", "slow"), APPLICATION, 0))["hidden"] == 1
        assert (await ask(place, question("contain-data-damage", "writers"), APPLICATION))["hidden"] == 1
    finally:
        place.server.run("GRANT pg_monitor TO remediator")


@pytest.mark.parametrize("runbook", ["deployment-rollback", "incident-response"])
async def test_the_age_of_the_last_migration_is_told(place, runbook: str) -> None:
    """A huge one where none has ever run, and an error, which forbids rollbacks, where the table is not there."""
    sql = yaml.safe_load((SHIPPED / f"{runbook}.yml").read_text())["vars"]["migration_age"]
    unknown = await place.use("query", sql=sql)
    assert unknown.kind is not Result.OK
    place.server.run(
        "CREATE TABLE _prisma_migrations (started_at timestamptz); GRANT SELECT ON _prisma_migrations TO remediator",
        place.name,
    )
    assert (await place.use("query", sql=sql)).result["value"] == 1e9
    place.server.run(
        "INSERT INTO _prisma_migrations VALUES (now() - interval '5 min'), (now() - interval '9 d')", place.name
    )
    assert 300 <= (await place.use("query", sql=sql)).result["value"] < 360
