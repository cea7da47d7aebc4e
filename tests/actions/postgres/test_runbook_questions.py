"""The SQL of the runbooks for restores, performance and security, against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.actions.protocol import Result

SHIPPED = Path(__file__).parents[3] / "rules"


def question(file: str, rule: str, step: str) -> str:
    """Give the SQL of a step or check of a rule."""
    (found,) = [each for each in yaml.safe_load((SHIPPED / file).read_text())["rules"] if each["name"] == rule]
    steps = [*found["steps"], *found.get("verify", {}).get("checks", [])]
    (sql,) = [each["with"]["sql"] for each in steps if each.get("id") == step]
    return str(sql)


async def ask(place: Any, sql: str, **more: Any) -> Any:
    """Give the one value of the answer."""
    outcome = await place.use("query", sql=sql, **more)
    assert outcome.kind is Result.OK, outcome.error
    return outcome.result["value"]


@pytest.mark.parametrize("rule", ["restore-database", "restore-to-point-in-time"])
async def test_a_restore_counts_the_tables_that_are_missing(place: Any, rule: str) -> None:
    """By their names as in SQL, with and without a schema."""
    place.server.run("CREATE TABLE there (a int)", place.name)
    sql = question("backup-and-restore.yml", rule, "tables")
    assert await ask(place, sql, bind=[["there", "public.there"]]) == 0
    assert await ask(place, sql, bind=[["there", "gone"]]) == 1


@pytest.mark.parametrize(
    "rule", ["verify-daily-backup", "replace-broken-backup", "rehearse-restore", "rehearse-disaster"]
)
async def test_a_scratch_database_that_is_left_behind_is_seen(place: Any, rule: str) -> None:
    """Whoever has made it."""
    sql = question("backup-and-restore.yml", rule, "tidy")
    assert await ask(place, sql) == 0
    place.server.run("CREATE DATABASE remediator_scratch_left")
    try:
        assert await ask(place, sql) == 1
    finally:
        place.server.run("DROP DATABASE remediator_scratch_left")


async def test_the_part_of_blocks_found_in_the_cache_is_one_number(place: Any) -> None:
    """Between none and all."""
    assert 0 <= await ask(place, question("performance-degradation.yml", "scale-out-busy-app", "cache")) <= 1


async def test_the_audit_counts_superusers_that_may_log_in(place: Any) -> None:
    """One more is seen."""
    sql = question("security-incidents.yml", "audit-security", "superusers")
    before = await ask(place, sql)
    place.server.run("CREATE ROLE intruder SUPERUSER LOGIN")
    try:
        assert await ask(place, sql) == before + 1
    finally:
        place.server.run("DROP ROLE intruder")
