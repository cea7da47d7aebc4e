"""The SQL of the books: what guards count, asked in one statement, so that a decision waits for one answer.

Runs are counted by `admitted_at`, which reverts and notices never have: they use nothing up. Where another column is asked,
they are left out by their origin. Each part walks an index that ends with the time, from the newest back.
"""

from __future__ import annotations

from typing import Any

from remediator.model.books import Allowance, Books, Ending, Question, Touched
from remediator.model.run import Book, State
from remediator.model.time import Timestamp
from remediator.store.columns import COUNTED, SEEN, SEES
from remediator.store.postgres.alerts import AlertRows

_AT_WORK = "ended_at IS NULL AND state IN ('running', 'verifying')"
_IN_LINE = "ended_at IS NULL AND state = 'waiting' AND reason = 'max_running'"
_ENDED = "started_at IS NOT NULL AND ended_at IS NOT NULL"
_GOOD = "AND failed_at IS NULL AND state IN ('succeeded', 'planned')"


class _Values:
    """The values of one statement, as its parts come to need them."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def put(self, value: Any, of: str = "text") -> str:
        """Note a value, and give what stands for it."""
        self.given.append(value)
        return f"${len(self.given)}::{of}"


class BookRows(AlertRows):
    """What was admitted, how it ended, and who stands in the way now."""

    async def books(self, question: Question) -> Books:
        seen, values = SEEN[question.book], _Values()
        run, lock, priority = values.put(question.run), values.put(question.lock), values.put(question.priority)
        before = f"(priority < {priority} OR (priority = {priority} AND id < {run}))"
        parts = [
            _ending(question, values, ""),
            _ending(question, values, _GOOD),
            f"(SELECT id FROM runs WHERE lock = {lock} AND ended_at IS NULL AND id != {run} AND {seen} LIMIT 1)",  # noqa: S608
            f"(SELECT count(*) FROM runs WHERE {_AT_WORK} AND {seen} AND {COUNTED})",  # noqa: S608
            f"(SELECT count(*) FROM runs WHERE {_IN_LINE} AND {before} AND {seen} AND {COUNTED})",  # noqa: S608
            _episodes_begun(question, values),
            *(_full_since(each, question.book, values) for each in question.allowances),
            *(_touched(each, question, values) for each in question.touched),
        ]
        columns = ", ".join(f"{part} AS part{number}" for number, part in enumerate(parts))
        found = await self._one(f"SELECT {columns}", *values.given)
        last, good, holder, at_work, in_line, episodes, *rest = found
        limits = len(question.allowances)
        firing = [await self.firing(name) for name in question.firing]
        return Books(
            last=_read_ending(last),
            last_good=_read_ending(good),
            full_since=tuple(rest[:limits]),
            touched=tuple(frozenset(targets or ()) for targets in rest[limits:]),
            episodes=episodes,
            lock_holder=holder,
            at_work=at_work,
            in_line=in_line,
            firing=tuple(episode.labels for some in firing for episode in some),
        )

    async def failures(self, since: Timestamp, rule: str | None, book: Book) -> int:
        row = await self._one(
            f"SELECT count(*) FROM runs WHERE failed_at > $1 AND {SEEN[book]} AND {COUNTED} "  # noqa: S608
            "AND ($2::text IS NULL OR rule = $2)",
            since, rule,
        )  # fmt: skip
        return int(row[0])


def _ending(question: Question, values: _Values, only: str) -> str:
    # The runs of one rule and target follow one another, so the last that was admitted is the last that ended.
    # That it didn't fail stands in the index: a long row of failures is passed over there.
    where = f"rule = {values.put(question.rule)} AND target = {values.put(question.target)} AND {_ENDED} {only}"
    columns = "admitted_at, ARRAY[ended_at::text, state, rung::text] AS told"
    return f"(SELECT told FROM ({_newest(columns, where, question.book)} LIMIT 1) AS newest)"  # noqa: S608


def _read_ending(told: list[str] | None) -> Ending | None:
    if told is None:
        return None
    ended_at, state, rung = told  # a double's text is exact, and reads back as the same
    return Ending(at=float(ended_at), good=state in {State.SUCCEEDED, State.PLANNED}, rung=int(rung))


def _full_since(allowance: Allowance, book: Book, values: _Values) -> str:
    where = "true"
    for column, value in (("rule", allowance.rule), ("target", allowance.target)):
        if value is not None:
            where += f" AND {column} = {values.put(value)}"
    newest = _newest("admitted_at", where, book)
    return f"(SELECT admitted_at FROM ({newest} LIMIT 1 OFFSET {values.put(allowance.count - 1, 'bigint')}) AS newest)"  # noqa: S608


def _newest(columns: str, where: str, book: Book) -> str:
    """Give a query for the admissions that the book sees, newest first."""
    walks = [
        f"SELECT {columns} FROM runs WHERE admitted_at IS NOT NULL AND book = '{each}' AND {where} "  # noqa: S608
        "ORDER BY admitted_at DESC"
        for each in SEES[book]
    ]
    if len(walks) == 1:
        return walks[0]
    # One walk by index for each book, merged: `book IN (…)` would sort all of history.
    return " UNION ALL ".join(f"({walk})" for walk in walks) + " ORDER BY admitted_at DESC"


def _touched(touched: Touched, question: Question, values: _Values) -> str:
    rule = "" if touched.rule is None else f"AND rule = {values.put(touched.rule)}"
    return (
        f"(SELECT array_agg(DISTINCT target) FROM runs WHERE admitted_at > {values.put(touched.since, 'float8')} "  # noqa: S608
        f"AND target != {values.put(question.target)} AND {SEEN[question.book]} {rule})"
    )


def _episodes_begun(question: Question, values: _Values) -> str:
    if question.episodes_since is None:
        return "0"
    since = values.put(question.episodes_since, "float8")
    # Ids of episodes grow with `first_seen`: where the span begins is found first, and nothing older is walked.
    return (
        "(SELECT count(*) FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
        f"WHERE rule = {values.put(question.rule)} AND target = {values.put(question.target)} AND first_seen > {since} "
        f"AND decisions.episode >= (SELECT min(id) FROM episodes WHERE first_seen > {since}))"
    )
