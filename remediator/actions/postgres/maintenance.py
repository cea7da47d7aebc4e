"""`postgres.vacuum_analyze`: dead rows made free again, and statistics made new."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field, model_validator

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.postgres.connecting import OfDatabase, Session, SessionAction
from remediator.actions.protocol import Effect, JsonValue, Outcome, Result

_MOST = 20


class VacuumParameters(OfDatabase):
    """Which tables, by name or by how bad they are."""

    tables: list[str] | None = Field(
        default=None, min_length=1, max_length=_MOST, description="Tables by name, as in SQL: `shop.orders`, `orders`."
    )
    worst: int | None = Field(default=None, ge=1, le=_MOST, description="That many tables with most dead rows.")
    at_least: int = Field(default=1000, ge=1, description="With `worst`: only tables with so many dead rows.")

    @model_validator(mode="after")
    def _one_way(self) -> VacuumParameters:
        if (self.tables is None) == (self.worst is None):
            raise ValueError("give either `tables` or `worst`")
        return self


class PostgresVacuumAnalyze(SessionAction[VacuumParameters]):
    """Vacuum and analyse tables, one after the other, till all are done or the step's time is up.

    `tables` lists each with its `seconds`, and `skipped`: the reason where the server has passed it over, as it does where
    somebody has locked it, or where our user has no right to. It is an error where none was done. Nothing is locked against
    reading and writing (PostgreSQL, "VACUUM", without FULL).

    Example:
        - id: vacuum
          uses: postgres.vacuum_analyze
          with:
            database: main
            worst: 3
            at_least: 10000
          timeout: 10m
    """

    name = "postgres.vacuum_analyze"
    effect = Effect.WRITE
    parameters = VacuumParameters

    def idempotent(self, params: VacuumParameters) -> bool:
        """Tell that it is: what is clean stays so."""
        return True

    def plan(self, params: VacuumParameters) -> str:
        """Say which tables."""
        which = f"the tables {', '.join(params.tables)}" if params.tables else ""
        which = which or f"at most {params.worst} tables with {params.at_least} dead rows or more"
        return visible(f"vacuum and analyse {which} of the database {params.database}", longest=2000)

    async def ask(self, session: Session, params: VacuumParameters) -> Outcome:
        """Find the tables in the catalog, and take one after the other."""
        connection = session.connection
        if params.tables is None:
            found = await connection.fetch(_WORST, params.at_least, params.worst)
        else:
            found = await connection.fetch(_BY_NAME, params.tables)
            strange = [name for name, quoted in found if quoted is None]
            if strange:
                words = f"there is no table {', '.join(strange)} in the database {params.database}; nothing was done"
                return session.database.outcome(Result.REFUSED, f"{words}: correct `tables`")
        said: list[str] = []
        connection.add_log_listener(lambda _, message: said.append(message.message or ""))
        done: list[dict[str, JsonValue]] = []
        for (quoted,) in dict.fromkeys((quoted,) for _, quoted in found):
            said.clear()
            done.append(await _vacuum(session, quoted, said))
        if done and all(each["skipped"] for each in done):
            why = "; ".join(dict.fromkeys(str(each["skipped"]) for each in done))
            return session.database.outcome(Result.REFUSED, f"no table was vacuumed: {why}")
        return fitting({"tables": done, "count": sum(not each["skipped"] for each in done)}, "the list of tables")


async def _vacuum(session: Session, quoted: str, said: list[str]) -> dict[str, JsonValue]:
    """Do one table; its name comes from the catalog, quoted by the server."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await session.connection.execute(f"VACUUM (ANALYZE, SKIP_LOCKED) {quoted}")
    await asyncio.sleep(0)  # listeners are called by the loop
    skipped: Any = said[0] if said else None
    if skipped is None:
        session.done.append(f"vacuumed {quoted}")
    return {"table": quoted, "seconds": round(loop.time() - began, 3), "skipped": skipped}


_WORST = """
SELECT relname, format('%I.%I', schemaname, relname) FROM pg_stat_user_tables
WHERE n_dead_tup >= $1 ORDER BY n_dead_tup DESC, 2 LIMIT $2
"""
# Ordinary tables, partitioned ones and materialised views.
_BY_NAME = """
SELECT wanted.name, CASE WHEN relname IS NOT NULL THEN format('%I.%I', nspname, relname) END
FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, place)
LEFT JOIN pg_class c ON c.oid = to_regclass(wanted.name) AND c.relkind IN ('r', 'p', 'm')
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY place
"""
