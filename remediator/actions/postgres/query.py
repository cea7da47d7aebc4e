"""`postgres.query`: one statement that reads."""

from __future__ import annotations

from typing import Annotated, Any

import re2
from pydantic import Field, field_validator

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.postgres.connecting import OfDatabase, Session, SessionAction
from remediator.actions.postgres.values import fitted, plain
from remediator.actions.protocol import Effect, Grammar, JsonValue, Outcome, Result

TEXT = Grammar("a text that PostgreSQL can hold: it has no NUL", "[^\\x00]*")
_READS = r"(?is)\s*(?:\(\s*)*(?:select|with|values|table|show|explain)\b.*"
_MOST = 10_000

Bound = Annotated[str, TEXT] | bool | int | float | None


class QueryParameters(OfDatabase):
    """What to ask, and with which values."""

    sql: str = Field(
        min_length=1,
        description="One statement that begins with SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN. It stands as it is: values "
        "come in as `$1`, `$2`, … and are given under `bind`.",
    )
    bind: list[Bound | list[Bound]] = Field(
        default=[],
        description="The values of `$1`, `$2`, … A text that writes a number, instant or span is taken for one where the "
        "statement wants one; a list is an array.",
    )
    most: int = Field(
        default=1000, ge=1, le=_MOST, description="Rows at most; more are an error, since none is ever cut."
    )

    @field_validator("sql")
    @classmethod
    def _reads(cls, sql: str) -> str:
        if re2.fullmatch(_READS, sql) is None:
            raise ValueError("it should begin with SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN")
        return sql


class PostgresQuery(SessionAction[QueryParameters]):
    """Ask a database by one statement, in a transaction that can't write.

    `rows` lists mappings from the columns' names to values, `count` says how many; `value` is there where there is one row
    of one column. Instants are RFC 3339 texts, spans are seconds, and a number that JSON can't hold is a text.

    The server refuses whatever writes (PostgreSQL, "SET TRANSACTION"), and cancels the statement when the step's time is
    up. That leaves functions which act outside of transactions, such as pg_terminate_backend(): give the user no right to
    those, where rules' authors may not have it.

    Example:
        - id: orders
          uses: postgres.query
          with:
            database: main
            sql: SELECT count(*) AS waiting FROM orders WHERE app = $1 AND state = 'new'
            bind: ['{{ labels.app }}']
          expect: result.value < 1000
    """

    name = "postgres.query"
    effect = Effect.READ
    parameters = QueryParameters

    def plan(self, params: QueryParameters) -> str:
        """Quote the statement and the values."""
        given = f" with {', '.join(map(repr, params.bind))}" if params.bind else ""
        return visible(f"ask the database {params.database}: {' '.join(params.sql.split())}{given}", longest=2000)

    async def ask(self, session: Session, params: QueryParameters) -> Outcome:
        """Ask, and take no more rows than are wanted."""
        database = session.database
        async with session.reading() as connection:
            statement = await connection.prepare(params.sql)
            kinds = [kind.name for kind in statement.get_parameters()]
            if len(kinds) != len(params.bind):
                words = f"the statement wants {len(kinds)} values, and `bind` has {len(params.bind)}: write as many"
                return database.outcome(Result.REFUSED, words)
            values: list[Any] = []
            for number, (value, kind) in enumerate(zip(params.bind, kinds, strict=True), start=1):
                try:
                    values.append(fitted(value, kind))
                except ValueError as error:
                    return database.outcome(
                        Result.REFUSED, f"${number} was given {value!r}, and {error}: correct `bind`"
                    )
            names = [column.name for column in statement.get_attributes()]
            if len(set(names)) < len(names):
                words = "two columns of the statement have the same name: give them names of their own, with AS"
                return database.outcome(Result.REFUSED, words)
            records = await (await statement.cursor(*values)).fetch(params.most + 1)
        if len(records) > params.most:
            words = (
                f"the statement gives more than {params.most} rows, and none is ever cut: select less, or raise `most`"
            )
            return database.outcome(Result.ERROR, words)
        rows = [{name: plain(value) for name, value in record.items()} for record in records]
        result: dict[str, JsonValue] = {"rows": rows, "count": len(rows)}
        if len(rows) == 1 and len(names) == 1:
            result["value"] = rows[0][names[0]]
        return fitting(result, "what the statement gives")
