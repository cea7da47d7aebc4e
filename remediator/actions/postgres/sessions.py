"""Sessions that are in the way: ended, or their statement cancelled.

Never one of ours, of replication, of a superuser, or of the server's own processes. Who is to be hit is listed first, and
each is then hit by a statement that looks once more whether it is still the same session in the same state, since a number
of a process is given anew, and an idle session wakes up (PostgreSQL, "Server Signaling Functions").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.postgres.connecting import US, OfDatabase, Session, SessionAction, Span
from remediator.actions.postgres.values import row
from remediator.actions.protocol import Effect, Grammar, Outcome, Result
from remediator.model.time import format_duration

# A star is the author's alone: a label that holds one would mean everybody.
NAMED = Grammar(
    "a name of at most 63 characters, or the beginning of one with a `*` after it",
    r"[^\x00*]{1,63}|[^\x00*]{0,63}\*",
    r"[^\x00*]+",
)


class Selection(OfDatabase):
    """Which sessions are meant, from which age on, and how many at most."""

    age: Span = Field(description="Only those that have been so for longer.")
    user: Annotated[str, NAMED] | None = Field(
        default=None, description="Only this user's; `web*`: of those whose name begins so."
    )
    application: Annotated[str, NAMED] | None = Field(
        default=None, description="Only those that call themselves so (`application_name`); `web*` as with `user`."
    )
    connected_to: Annotated[str, NAMED] | None = Field(
        default=None,
        description="Only those in this database of the server; `*`: in any. Default: the one that is connected to.",
    )
    most: int = Field(default=10, ge=1, le=100, description="How many at most, the oldest first.")


class IdleSelection(Selection):
    """Which idle sessions are meant."""

    states: list[Literal["idle", "idle in transaction"]] = Field(
        min_length=1, description="`idle`: without a transaction; `idle in transaction`: with one open, failed or not."
    )


class _SignalAction(SessionAction[Any]):
    """Base of the three: they differ in whom they take, and in what they do to them."""

    effect = Effect.WRITE
    since: ClassVar[str]  # the column from which the age counts
    function: ClassVar[str]
    deed: ClassVar[str]  # in words, with the pid after it

    def states(self, params: Any) -> list[str]:
        """Give the states of those who are meant."""
        return ["active"]

    def noun(self, params: Any) -> str:
        """Say in words who is meant."""
        return "statements that have been running"

    def idempotent(self, params: Any) -> bool:
        """Tell the truth: done twice, it takes the next ones, up to `most` again."""
        return False

    def plan(self, params: Selection) -> str:
        """Say who is meant."""
        filters = {"user": params.user, "application": params.application, "database": params.connected_to}
        only = "".join(f", {word} {value!r}" for word, value in filters.items() if value is not None)
        age = format_duration(params.age)
        return visible(
            f"{self.deed} at most {params.most} {self.noun(params)} for more than {age}, the oldest first, on the server of "
            f"the database {params.database}{only}",
            longest=2000,
        )

    async def ask(self, session: Session, params: Selection) -> Outcome:
        """List them, and take one after the other."""
        found = await self._candidates(session, params)
        permitted = [each for each in found if each["permitted"]]
        hidden = await session.connection.fetchval(_HIDDEN)
        if not permitted and (found or hidden):
            user = await session.connection.fetchval("SELECT current_user")
            words = f"of {len(found)} sessions that are meant, none may be touched by {user}; nothing was done"
            right = "pg_signal_backend"
            if not found:
                words = f"{user} may not look into {hidden} sessions, and of the others none is meant; nothing was done"
                right = "pg_read_all_stats"
            return session.database.outcome(Result.REFUSED, f"{words}: GRANT {right} TO it")
        counts = Counter[str]()
        taken = []
        for each in permitted[: params.most]:
            # The statement looks anew: outside of a transaction, the view is read at each.
            done = await session.connection.fetchval(self._strike(), *(each[key] for key in _IDENTITY))
            counts["count" if done else "changed"] += 1
            if done:
                session.done.append(f"{self.deed} session {each['pid']}")
                taken.append(_shown(each))
        return fitting(
            {
                "sessions": taken, "count": counts["count"], "changed": counts["changed"],
                "left": len(permitted[params.most :]), "not_permitted": len(found) - len(permitted), "hidden": hidden,
            },
            "the list of sessions",
        )  # fmt: skip

    async def _candidates(self, session: Session, params: Selection) -> list[Mapping[str, Any]]:
        given: list[Any] = [params.age, self.states(params)]
        for text in (params.user, params.application, params.connected_to):
            given += [None if text is None else text.removesuffix("*"), text is not None and text.endswith("*")]
        return list(await session.connection.fetch(_CANDIDATES.format(since=self.since), *given))

    def _strike(self) -> str:
        return _STRIKE.format(function=self.function)


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    return row({name: value for name, value in record.items() if name not in _INSIDE})


_INSIDE = {"backend_start", "state_change", "query_start", "permitted"}
_IDENTITY = ("pid", "backend_start", "state_change", "query_start", "state")
_CANDIDATES = f"""
SELECT s.pid, s.backend_start, s.state_change, s.query_start, s.state, s.usename AS "user", s.datname AS database,
    s.application_name AS application, extract(epoch FROM clock_timestamp() - s.{{since}})::float8 AS age_s,
    left(s.query, 1000) AS query,
    pg_has_role(s.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE') AS permitted
FROM pg_stat_activity s JOIN pg_roles r ON r.oid = s.usesysid
WHERE s.backend_type = 'client backend' AND NOT r.rolsuper AND s.pid <> pg_backend_pid()
    AND NOT (s.usename = session_user AND s.application_name = '{US}')
    AND NOT EXISTS (SELECT FROM pg_stat_replication p WHERE p.pid = s.pid)
    AND clock_timestamp() - s.{{since}} > make_interval(secs => $1) AND s.state = ANY($2::text[])
    AND ($3::text IS NULL OR s.usename = $3 OR $4 AND starts_with(s.usename, $3))
    AND ($5::text IS NULL OR s.application_name = $5 OR $6 AND starts_with(s.application_name, $5))
    AND (s.datname = coalesce($7::text, current_database()) OR $8 AND starts_with(s.datname, $7))
ORDER BY s.{{since}}, s.pid
"""  # noqa: S608 - of our own words
_STRIKE = """
SELECT {function}(pid) FROM pg_stat_activity
WHERE pid = $1 AND backend_start = $2 AND state_change = $3 AND query_start IS NOT DISTINCT FROM $4 AND state = $5
"""
_HIDDEN = """
SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL AND state IS NULL AND pid <> pg_backend_pid()
    AND (backend_type IS NULL OR backend_type = 'client backend')
"""


class PostgresTerminateIdle(_SignalAction):
    """End sessions that have been idle for longer than an age: what they hold, places and locks, is free again.

    `sessions` lists those that were told to end, with `pid`, `user`, `database`, `application`, `state`, `age_s` and their
    last `query`; `count` says how many, `left` how many more there are beyond `most`, `changed` how many had woken up or gone
    meanwhile and were let be. `not_permitted` counts those that our user may not end, `hidden` those that it may not see.

    Example:
        - id: free
          uses: postgres.terminate_idle
          with:
            database: main
            states: [idle in transaction]
            age: 10m
            application: '{{ labels.app }}*'
            most: 20
    """

    name = "postgres.terminate_idle"
    parameters = IdleSelection
    since = "state_change"
    function = "pg_terminate_backend"
    deed = "end"

    def states(self, params: IdleSelection) -> list[str]:
        """Give the states as the server words them."""
        failed = ["idle in transaction (aborted)"] if "idle in transaction" in params.states else []
        return [*params.states, *failed]

    def noun(self, params: IdleSelection) -> str:
        """Say in words who is meant."""
        return f"sessions that have been {' or '.join(dict.fromkeys(params.states))}"


class PostgresCancelLong(_SignalAction):
    """Cancel statements that have been running for longer than an age; their sessions go on.

    The result is as with `postgres.terminate_idle`. A statement that does not heed it (it waits for a client that has gone,
    say) ends with `postgres.terminate_long`.

    Example:
        - id: cancel
          uses: postgres.cancel_long
          with:
            database: main
            age: 15m
            user: app
    """

    name = "postgres.cancel_long"
    parameters = Selection
    since = "query_start"
    function = "pg_cancel_backend"
    deed = "cancel"


class PostgresTerminateLong(_SignalAction):
    """End sessions whose statement has been running for longer than an age.

    The result is as with `postgres.terminate_idle`. Try `postgres.cancel_long` first: it leaves the session alone.

    Example:
        - id: end
          uses: postgres.terminate_long
          with:
            database: main
            age: 30m
            application: '{{ labels.app }}'
            most: 5
    """

    name = "postgres.terminate_long"
    parameters = Selection
    since = "query_start"
    function = "pg_terminate_backend"
    deed = "end"

    def noun(self, params: Any) -> str:
        """Say in words who is meant."""
        return "sessions whose statement has been running"
